import type { Clock, Timer } from '../common/clock.js';
import { asRawstorError, RawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import type { Memory, SliceList } from '../io/memory.js';
import type { PoolBuffer } from '../io/pool.js';
import type { FrameHandler, Io, Stream } from '../io/types.js';
import { PendingCalls } from './calls.js';
import type { ConnectionHandler } from './connection-handler.js';
import { decodeCall, decodeError, decodeMessage, encodeBody, encodeError } from './control.js';
import { ControlQueue, type ControlQueueHost } from './control-queue.js';
import { decodeFrameHeader, FRAME_HEADER_BYTES, FrameFlag, FrameHeader, Opcode } from './frame.js';
import { helloBody, type Identity, judgeHello } from './hello.js';
import {
  FIRST_FAULT,
  type Hello,
  helloSchema,
  type MethodName,
  type Params,
  type Result,
} from './messages.js';
import { Reading, Stop } from './reading.js';
import type { Reception } from './reception.js';
import { ServedCalls, type ServedCallsHost } from './served-calls.js';
import { PROTOCOL_VERSION_CURRENT, PROTOCOL_VERSION_MIN } from './version.js';

const HELLO_TIMEOUT_MS = 5000;

/** One connection between two programs, either side: hellos first, then calls, events and data frames. */
export class Connection implements FrameHandler, ServedCallsHost, ControlQueueHost {
  readonly headerBytes = FRAME_HEADER_BYTES;
  readonly stream: Stream;
  readonly reading: Reading;
  /** The program at the other end, after the hello. */
  remote: Hello | null = null;
  version: number = PROTOCOL_VERSION_CURRENT;
  private readonly identity: Identity;
  private readonly handler: ConnectionHandler;
  private readonly incoming = new FrameHeader();
  private readonly control: ControlQueue;
  private readonly calls: PendingCalls;
  private readonly served: ServedCalls;
  /** Of an accepted connection: what it shares with others. */
  private readonly reception: Reception | null;
  /** The peer asks no more: the connection ends with the last answer. */
  private peerEnded = false;
  private ready: { resolve: () => void; reject: (error: RawstorError) => void } | null = null;
  private readonly helloTimer: Timer;
  private readonly accepted: boolean;
  private failure: RawstorError | null = null;

  private constructor(
    stream: Stream,
    identity: Identity,
    clock: Clock,
    handler: ConnectionHandler,
    accepted: boolean,
    reception: Reception | null,
    helloTimeoutMs = HELLO_TIMEOUT_MS,
  ) {
    this.stream = stream;
    this.reading = new Reading(stream);
    this.identity = identity;
    this.calls = new PendingCalls(clock);
    this.handler = handler;
    this.accepted = accepted;
    this.control = new ControlQueue(stream, this);
    this.reception = reception;
    this.served = new ServedCalls(this, reception?.gate ?? null);
    const late = new RawstorError('TIMEOUT', 'the peer sent no hello', { where: stream.peer });
    this.helloTimer = clock.after(helloTimeoutMs, () => this.fail(late));
    stream.onClose = (error) => this.onStreamClosed(error);
    // The asking side has nobody left to answer it.
    if (accepted) stream.onPeerEnd = () => this.onPeerEnd();
    stream.receive(this);
  }

  /** Connects and exchanges hellos within the time: of a process that hangs the kernel still takes connections. @throws RawstorError UNAVAILABLE, TIMEOUT, VERSION, DENIED */
  static async connect(
    io: Io,
    address: string,
    options: { identity: Identity; clock: Clock; handler: ConnectionHandler; timeoutMs: number },
  ): Promise<Connection> {
    const { identity, clock, handler, timeoutMs } = options;
    const untilMs = clock.nowMs() + timeoutMs;
    const stream = await io.connect(address, { timeoutMs });
    const helloMs = Math.min(HELLO_TIMEOUT_MS, Math.max(1, untilMs - clock.nowMs()));
    const connection = new Connection(stream, identity, clock, handler, false, null, helloMs);
    const hello = helloBody(identity, PROTOCOL_VERSION_MIN, PROTOCOL_VERSION_CURRENT);
    await new Promise<void>((resolve, reject) => {
      connection.ready = { resolve, reject };
      connection.sendControl(Opcode.HELLO, 0, 0, 0, hello);
    });
    return connection;
  }

  /** The accepting side: answers the hello, then gives frames to the handler. */
  static accept(
    stream: Stream,
    identity: Identity,
    clock: Clock,
    handler: ConnectionHandler,
    reception: Reception | null = null,
  ): Connection {
    return new Connection(stream, identity, clock, handler, true, reception);
  }

  /** Of this program. */
  get name(): string {
    return this.identity.name;
  }

  get peer(): string {
    return this.stream.peer;
  }

  get behind(): boolean {
    return this.control.behind;
  }

  get closed(): boolean {
    return this.stream.closed;
  }

  /**
   * Asks and waits. `timeoutMs` 0 waits until the connection ends. @throws RawstorError of the peer, or
   * CONNECTION_LOST, TIMEOUT
   */
  call<M extends MethodName>(method: M, params: Params<M>, timeoutMs = 10_000): Promise<Result<M>> {
    if (this.closed) return Promise.reject(this.lost());
    return this.calls.begin(method, timeoutMs, this.peer, (id) =>
      this.sendControl(Opcode.CALL, 0, id, 0, encodeBody([method, params])),
    );
  }

  event(name: string, params: unknown): void {
    if (!this.closed) this.sendControl(Opcode.EVENT, 0, 0, 0, encodeBody([name, params]));
  }

  /**
   * Queues a data frame. The header stands encoded at `slotOffset`; it and the slices' memory must stay as
   * they are until the answer, or, for answers, until `slices` owners are released.
   */
  sendFrame(slot: Memory, slotOffset: number, slices: SliceList | null): void {
    this.stream.send(slot, slotOffset, FRAME_HEADER_BYTES, null);
    if (slices === null) return;
    for (let i = 0; i < slices.count; i++) {
      this.stream.send(slices.memory[i]!, slices.offset[i]!, slices.length[i]!, null);
    }
  }

  end(): void {
    this.stream.end();
  }

  destroy(error?: RawstorError): void {
    if (error !== undefined) this.failure ??= error;
    this.stream.destroy(error);
  }

  header(memory: Memory, offset: number): number {
    const fault = decodeFrameHeader(memory.bytes, offset, this.incoming);
    const { opcode, payloadBytes } = this.incoming;
    if (fault !== null) return this.refuse(`a frame header has a wrong ${fault}`);
    const limit = opcode < Opcode.PING ? LIMITS.controlBytes : LIMITS.framePayloadBytes;
    if (payloadBytes > limit)
      return this.refuse(`a frame of ${payloadBytes} bytes is over the limit of ${limit}`);
    if (this.remote === null && opcode !== Opcode.HELLO) return this.refuse('the first frame is no hello');
    return payloadBytes;
  }

  frame(buffer: PoolBuffer | null, offset: number, lengthBytes: number): void {
    const header = this.incoming;
    if (header.opcode >= Opcode.PING) {
      this.handler.data(this, header, buffer, offset);
      return;
    }
    // Control bodies are decoded before the next frame is read, so a view is enough.
    const body = buffer?.memory.bytes.subarray(offset, offset + lengthBytes) ?? null;
    try {
      if (header.opcode === Opcode.HELLO) this.onHello(body);
      else if (header.opcode === Opcode.EVENT) this.onEvent(body);
      else if (header.flags & FrameFlag.ANSWER) this.onAnswer(header.requestId, header.status, body);
      else this.served.receive(header.requestId, body);
    } catch (error) {
      this.fail(asRawstorError(error, this.peer));
    }
  }

  private onHello(body: Buffer | null): void {
    if (this.remote !== null) throw new RawstorError('PROTOCOL', 'a second hello', { where: this.peer });
    if (this.incoming.status !== 0) throw decodeError(this.incoming.status, body);
    const parsed = helloSchema.safeParse(body === null ? null : decodeMessage(body), FIRST_FAULT);
    if (!parsed.success) {
      throw new RawstorError('PROTOCOL', 'the hello is malformed', { where: this.peer, cause: parsed.error });
    }
    const hello = parsed.data;
    const refusal = judgeHello(this.identity, hello);
    if (this.accepted) {
      if (refusal !== null) {
        this.sendControl(Opcode.HELLO, FrameFlag.ANSWER, 0, refusal.wire, encodeError(refusal));
        this.failure = refusal;
        this.stream.end();
        return;
      }
      this.version = Math.min(hello.maxVersion, PROTOCOL_VERSION_CURRENT);
      this.remote = hello;
      const answer = helloBody(this.identity, this.version, this.version);
      this.sendControl(Opcode.HELLO, FrameFlag.ANSWER, 0, 0, answer);
    } else {
      if (refusal !== null) throw refusal;
      this.version = hello.maxVersion;
      this.remote = hello;
      this.ready?.resolve();
      this.ready = null;
    }
    this.helloTimer.cancel();
  }

  private onEvent(body: Buffer | null): void {
    const [name, params] = decodeCall(body);
    this.handler.event(this, name, params);
  }

  private onAnswer(id: number, status: number, body: Buffer | null): void {
    this.calls.answered(id, status, body);
  }

  perform(method: MethodName, params: unknown): Promise<unknown> {
    return this.handler.call(this, method, params);
  }

  holdCalls(hold: boolean): void {
    this.reading.set(Stop.CALLS, hold);
  }

  /** Something that the peer asked for is answered. */
  answered(): void {
    const busy = this.served.count > 0 || (this.handler.busy?.() ?? false);
    if (this.peerEnded && !busy) this.stream.end();
  }

  private onPeerEnd(): void {
    this.peerEnded = true;
    this.answered();
  }

  answer(id: number, status: number, body: Buffer): void {
    if (this.closed) return;
    if (body.length > LIMITS.controlBytes) {
      const error = new RawstorError('LIMIT', 'the answer is too large for one message');
      this.sendControl(Opcode.CALL, FrameFlag.ANSWER, id, error.wire, encodeError(error));
      return;
    }
    this.sendControl(Opcode.CALL, FrameFlag.ANSWER, id, status, body);
  }

  private sendControl(opcode: number, flags: number, requestId: number, status: number, body: Buffer): void {
    if (this.control.send(this.version, opcode, flags, requestId, status, body)) return;
    this.fail(new RawstorError('LIMIT', 'the peer takes no control messages', { where: this.peer }));
  }

  queuedChanged(bytes: number): void {
    this.reception?.queued(this, bytes);
  }

  behindChanged(behind: boolean): void {
    // Whoever only asks reads on: what it asked for is no reason not to take answers.
    if (!this.accepted) return;
    this.reading.set(Stop.ANSWERS, behind);
    if (!behind) this.served.goOn();
  }

  private refuse(what: string): number {
    this.fail(new RawstorError('PROTOCOL', what, { where: this.peer }));
    return -1;
  }

  fail(error: RawstorError): void {
    this.failure ??= error;
    this.stream.destroy(error);
  }

  private lost(): RawstorError {
    if (this.failure !== null) return this.failure;
    const hint = 'see the log of that server';
    return new RawstorError('CONNECTION_LOST', 'the connection was lost', { where: this.peer, hint });
  }

  private onStreamClosed(error: Error | null): void {
    this.helloTimer.cancel();
    this.reception?.left(this);
    if (error instanceof RawstorError) this.failure ??= error;
    const failure = this.lost();
    this.ready?.reject(failure);
    this.ready = null;
    this.calls.failAll(failure);
    this.handler.closed(this, error ?? this.failure);
  }
}
