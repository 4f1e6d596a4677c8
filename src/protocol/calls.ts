import type { Clock, Timer } from '../common/clock.js';
import { asRawstorError, RawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import { decodeError, decodeMessage } from './control.js';
import { FIRST_FAULT, METHODS, type MethodName, type Result } from './messages.js';

interface PendingCall {
  readonly method: MethodName;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: RawstorError) => void;
  readonly timer: Timer | null;
}

/** Calls of one connection that wait for their answers. */
export class PendingCalls {
  private readonly clock: Clock;
  private readonly pending = new Map<number, PendingCall>();
  private nextId = 1;

  constructor(clock: Clock) {
    this.clock = clock;
  }

  /**
   * Gives the call an id, sends it and waits for a well-formed answer. `timeoutMs` 0 waits until the
   * connection ends. @throws RawstorError LIMIT, TIMEOUT, PROTOCOL, or the peer's
   */
  begin<M extends MethodName>(
    method: M,
    timeoutMs: number,
    where: string,
    send: (id: number) => void,
  ): Promise<Result<M>> {
    return new Promise((resolve, reject) => {
      if (this.pending.size >= LIMITS.callsInFlight) {
        return reject(new RawstorError('LIMIT', `too many calls in flight to ${where}`, { where: method }));
      }
      const id = this.nextId;
      this.nextId = (id + 1) >>> 0;
      const expire = () => {
        this.pending.delete(id);
        const text = `${method} was not answered within ${timeoutMs} ms`;
        reject(new RawstorError('TIMEOUT', text, { where }));
      };
      const check = (value: unknown) => {
        const parsed = METHODS[method].result.safeParse(value, FIRST_FAULT);
        if (parsed.success) return resolve(parsed.data as Result<M>);
        const text = `the answer to ${method} is malformed`;
        reject(new RawstorError('PROTOCOL', text, { where, cause: parsed.error }));
      };
      const timer = timeoutMs === 0 ? null : this.clock.after(timeoutMs, expire);
      this.pending.set(id, { method, resolve: check, reject, timer });
      send(id);
    });
  }

  answered(id: number, status: number, body: Buffer | null): void {
    const call = this.pending.get(id);
    if (call === undefined) return; // It timed out here before.
    this.pending.delete(id);
    call.timer?.cancel();
    if (status !== 0) return call.reject(decodeError(status, body));
    let value: unknown = null;
    try {
      if (body !== null) value = decodeMessage(body);
    } catch (error) {
      // It ends the connection, which knows of this call no more.
      call.reject(asRawstorError(error));
      throw error;
    }
    call.resolve(value);
  }

  failAll(error: RawstorError): void {
    for (const call of this.pending.values()) {
      call.timer?.cancel();
      call.reject(error);
    }
    this.pending.clear();
  }
}
