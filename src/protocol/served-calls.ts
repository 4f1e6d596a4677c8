import { asRawstorError, RawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import { KiB } from '../common/units.js';
import type { Caller, CallGate } from './call-gate.js';
import { decodeCall, encodeBody, encodeError } from './control.js';
import { checkCall, type MethodName } from './messages.js';

/** Bodies of calls that wait for their turn; beyond, no more is read. */
const WAITING_BYTES = 256 * KiB;

export interface ServedCallsHost {
  readonly closed: boolean;
  /** The peer takes its answers too slowly to be asked for more. */
  readonly behind: boolean;
  /** Of this server, for messages. */
  readonly name: string;
  perform(method: MethodName, params: unknown): Promise<unknown>;
  answer(id: number, status: number, body: Buffer): void;
  /** Something that the peer asked for is answered. */
  answered(): void;
  fail(error: RawstorError): void;
  /** No more is to be read for now, or again. */
  holdCalls(hold: boolean): void;
}

/** Calls that the peer of one connection makes: begun in order and by turns with other connections, answered in any order. */
export class ServedCalls implements Caller {
  /** Received and not answered. */
  count = 0;
  private readonly host: ServedCallsHost;
  private readonly gate: CallGate | null;
  private waiting: { id: number; body: Buffer | null }[] = [];
  private waitingBytes = 0;
  private held = false;
  private queued = false;

  /** Without a gate they begin at once: peers of who asks only call what is refused. */
  constructor(host: ServedCallsHost, gate: CallGate | null) {
    this.host = host;
    this.gate = gate;
  }

  /** `body` is only looked at during the call. @throws RawstorError PROTOCOL */
  receive(id: number, body: Buffer | null): void {
    this.count++;
    const mayBegin = this.waiting.length === 0 && !this.host.behind;
    if (this.gate === null || (mayBegin && this.gate.admit())) {
      this.begin(id, body);
      return;
    }
    this.waiting.push({ id, body: body === null ? null : Buffer.from(body) });
    this.waitingBytes += body?.length ?? 0;
    this.goOn();
    if (this.waitingBytes > WAITING_BYTES || this.waiting.length > LIMITS.callsInFlight) this.hold(true);
  }

  /** Those that wait may begin, as far as the peer is not behind. */
  goOn(): void {
    if (this.queued || this.waiting.length === 0 || this.host.behind || this.host.closed) return;
    this.queued = true;
    this.gate?.queue(this);
  }

  beginNext(): boolean {
    this.queued = false;
    if (this.host.closed) this.waiting = [];
    const next = this.host.behind ? undefined : this.waiting.shift();
    if (next === undefined) return false;
    this.waitingBytes -= next.body?.length ?? 0;
    try {
      this.begin(next.id, next.body);
    } catch (error) {
      this.host.fail(asRawstorError(error));
      return false;
    }
    if (this.waiting.length === 0) this.hold(false);
    this.queued = this.waiting.length > 0 && !this.host.behind;
    return this.queued;
  }

  private begin(id: number, body: Buffer | null): void {
    const { host } = this;
    const [name, params] = decodeCall(body);
    this.serve(name, params)
      .then(
        (result) => host.answer(id, 0, encodeBody(result)),
        (error) => {
          const failure = asRawstorError(error);
          host.answer(id, failure.wire, encodeError(failure));
        },
      )
      .finally(() => {
        this.count--;
        host.answered();
      });
  }

  private async serve(name: string, params: unknown): Promise<unknown> {
    const where = this.host.name;
    const [method, checked] = checkCall(name, params, where);
    if (this.count > LIMITS.callsInFlight) {
      throw new RawstorError('LIMIT', 'too many calls in flight on this connection', { where });
    }
    return await this.host.perform(method, checked);
  }

  private hold(hold: boolean): void {
    if (this.held === hold) return;
    this.held = hold;
    this.host.holdCalls(hold);
  }
}
