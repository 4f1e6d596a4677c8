import { asRawstorError, type RawstorError } from '../common/errors.js';
import type { Releasable, SliceList } from '../io/memory.js';
import type { BufferPool } from '../io/pool.js';
import type { FileOp, FileOpOwner } from '../io/types.js';
import { type Answer, AnswerPool } from './answer-pool.js';
import { initBody, writtenBody } from './answers.js';
import { Errno, FUSE_LIMITS, IN_HEADER_BYTES, Op, OpenFlag, WRITE_IN_BYTES } from './constants.js';
import { type DataHost, DataRequest } from './data-request.js';
import { errnoOf, Refusal } from './errno.js';
import { Inbox, type InboxOwner, type Slot } from './inbox.js';
import { giveUpLater, isKilled } from './interrupts.js';
import type { OpenFile } from './open-file.js';
import {
  decodeForgets,
  decodeHeader,
  decodeInit,
  decodeInterrupt,
  decodeRange,
  type RequestHeader,
} from './requests.js';
import type { Handlers, SessionParts } from './session-parts.js';
import { type Held, Spill } from './spill.js';
import { SessionStats } from './stats.js';

export type { Handlers };

/** The requests of one mount: taken from the kernel, done side by side, answered as they are done. */
export class Session implements InboxOwner, DataHost, FileOpOwner {
  readonly pool: BufferPool;
  readonly stats = new SessionStats();
  private readonly parts: SessionParts;
  private readonly inbox: Inbox;
  private readonly answers: AnswerPool;
  private readonly spill = new Spill();
  private readonly idle: DataRequest[] = [];
  /** By their `unique`: a request for data, or of another the process that waits for it. */
  private readonly underWay = new Map<number, DataRequest | number>();
  /** Of those, without data, that were answered before they were done. */
  private readonly given = new Set<number>();
  private answering = 0;
  private paused = false;
  private closed = false;
  private settled: (() => void) | null = null;

  constructor(parts: SessionParts) {
    this.parts = parts;
    this.pool = parts.io.pool;
    this.inbox = new Inbox(parts.device, this);
    this.answers = new AnswerPool(this);
  }

  start(): void {
    this.inbox.start();
  }

  get inFlight(): number {
    return this.underWay.size;
  }

  /** Resolved when all that was taken is answered. */
  drained(): Promise<void> {
    return new Promise((resolve) => {
      this.settled = resolve;
      this.look();
    });
  }

  /** Takes nothing more from the kernel, whatever programs go on asking. */
  stop(): void {
    this.inbox.stop();
  }

  /** What is under way still, when it was not waited for, is answered to nobody. */
  async close(): Promise<void> {
    this.closed = true;
    await this.parts.device.close();
    // Of what is under way still.
    if (this.underWay.size > 0 || this.answering > 0) return;
    this.inbox.unmap();
    this.answers.unmap();
  }

  ended(errno: number | null): void {
    if (errno === null) return this.parts.onEnd(null);
    this.parts.onEnd(asRawstorError(new Error(`errno ${errno}`), '/dev/fuse'));
  }

  message(slot: Slot, lengthBytes: number): boolean {
    const bytes = slot.memory.bytes.subarray(0, slot.start + lengthBytes);
    let header: RequestHeader;
    try {
      header = decodeHeader(bytes, slot.start);
    } catch (error) {
      this.parts.log.error({ reason: String(error), lengthBytes }, 'the kernel sends what is no request');
      return false;
    }
    this.stats.count(header.opcode);
    const body = bytes.subarray(
      slot.start + IN_HEADER_BYTES,
      slot.start + header.lengthBytes - header.extensionBytes,
    );
    try {
      return this.take(slot, header, body);
    } catch (error) {
      this.answer(header.unique, errnoOf(error));
      return false;
    }
  }

  dataDone(request: DataRequest, error: RawstorError | null): void {
    const { unique, lengthBytes, kind } = request;
    const { stats } = this;
    this.underWay.delete(unique);
    if (error !== null) {
      stats.errors++;
      this.parts.log.debug({ volume: request.file?.name, reason: error.message }, 'a request failed');
    } else if (kind === 'read') stats.readBytes += lengthBytes;
    else stats.writtenBytes += lengthBytes;
    if (request.abandoned) request.release();
    else if (error !== null) this.answer(unique, errnoOf(error), null, null, request);
    else if (kind === 'read') this.answer(unique, 0, null, request.data, request);
    else this.answer(unique, 0, writtenBody(lengthBytes), null, request);
    this.look();
  }

  dataReleased(request: DataRequest): void {
    this.idle.push(request);
  }

  /** The kernel has an answer, or does not want it any more. */
  fileDone(op: FileOp, result: number): void {
    const answer = op as Answer;
    if (result === -Errno.EINVAL) {
      this.parts.log.error({ unique: answer.unique }, 'the kernel refuses an answer');
    }
    this.answers.giveBack(answer);
    this.answering--;
    this.look();
  }

  private take(slot: Slot, header: RequestHeader, body: Buffer): boolean {
    const { handlers } = this.parts;
    switch (header.opcode) {
      case Op.FORGET:
      case Op.BATCH_FORGET:
        decodeForgets(header, body, (nodeId, lookups) => handlers.forget(nodeId, lookups));
        return false;
      case Op.INTERRUPT:
        this.interrupt(decodeInterrupt(body));
        return false;
      case Op.INIT:
        this.init(header.unique, body);
        return false;
      case Op.READ: {
        const { handle, offset, sizeBytes } = decodeRange(body);
        const file = this.fileOf(handle);
        this.request(header).read(header.unique, file, offset, sizeBytes);
        return false;
      }
      case Op.WRITE:
        return this.write(slot, header, body);
      default:
        void this.call(header, body);
        return false;
    }
  }

  /** Small ones are copied, so that the slot is free at once; it is as large as the largest. */
  private write(slot: Slot, header: RequestHeader, body: Buffer): boolean {
    const { unique } = header;
    const { handle, offset, sizeBytes: lengthBytes, openFlags } = decodeRange(body);
    if (WRITE_IN_BYTES + lengthBytes > body.length) throw new RangeError('WRITE has less data than it says');
    const file = this.fileOf(handle);
    if (lengthBytes === 0) {
      this.answer(unique, 0, writtenBody(0));
      return false;
    }
    const durable = (openFlags & OpenFlag.DSYNC) !== 0;
    const start = slot.start + IN_HEADER_BYTES + WRITE_IN_BYTES;
    const copy = this.copyFor(lengthBytes);
    const request = this.request(header);
    if (copy === null) {
      const payload = { memory: slot.memory, offset: start, lengthBytes, owner: slot };
      request.write(unique, file, offset, payload, durable);
      return true;
    }
    slot.memory.bytes.copy(copy.memory.bytes, copy.offset, start, start + lengthBytes);
    request.write(unique, file, offset, { ...copy, lengthBytes }, durable);
    return false;
  }

  /** Where to copy a write to; null: it keeps its slot. */
  private copyFor(lengthBytes: number): Held | null {
    const small = lengthBytes <= FUSE_LIMITS.copiedBytes ? this.pool.acquire(lengthBytes) : null;
    if (small !== null) return { memory: small.memory, offset: small.offset, owner: small };
    return this.inbox.isScarce ? this.spill.take(lengthBytes) : null;
  }

  private async call(header: RequestHeader, body: Buffer): Promise<void> {
    const { unique } = header;
    const { handlers, log } = this.parts;
    this.begin(unique, header.pid);
    let answer: Buffer | null = null;
    let errno = 0;
    try {
      answer = await handlers.call(header, body);
    } catch (error) {
      errno = errnoOf(error);
      if (!(error instanceof Refusal)) {
        const { message, where } = asRawstorError(error);
        log.debug({ opcode: header.opcode, reason: message, where }, 'a request failed');
      }
    }
    this.underWay.delete(unique);
    if (!this.given.delete(unique)) this.answer(unique, errno, answer);
    else if (answer !== null) handlers.discarded(header, answer);
    this.look();
  }

  private init(unique: number, body: Buffer): void {
    const init = decodeInit(body);
    const answer = initBody(init);
    if (answer === null) {
      this.parts.log.error({ major: init.major, minor: init.minor }, 'this kernel is too old');
    }
    this.answer(unique, answer === null ? Errno.EPROTO : 0, answer);
  }

  private interrupt(unique: number): void {
    const request = this.underWay.get(unique);
    if (request === undefined) return;
    const pid = typeof request === 'number' ? request : request.pid;
    const { clock, isKilled: killed = isKilled } = this.parts;
    const isUnderWay = () => this.underWay.get(unique) === request && !this.given.has(unique);
    giveUpLater(
      clock,
      () => killed(pid),
      isUnderWay,
      () => {
        if (typeof request === 'number') this.given.add(unique);
        else if (request.abandoned) return;
        else request.abandoned = true;
        this.stats.interrupted++;
        this.answer(unique, Errno.EINTR);
      },
    );
  }

  private fileOf(handle: number): OpenFile {
    const file = this.parts.handlers.file(handle);
    if (file === null) throw new Refusal(Errno.EBADF);
    return file;
  }

  private request({ unique, pid }: RequestHeader): DataRequest {
    const request = this.idle.pop() ?? new DataRequest(this);
    request.pid = pid;
    this.begin(unique, request);
    return request;
  }

  private begin(unique: number, request: DataRequest | number): void {
    this.underWay.set(unique, request);
    if (this.paused || this.underWay.size < FUSE_LIMITS.inFlight) return;
    this.paused = true;
    this.inbox.pause(true);
  }

  private answer(
    unique: number,
    errno: number,
    body: Buffer | null = null,
    data: SliceList | null = null,
    names: Releasable | null = null,
  ): void {
    if (this.closed) return names?.release();
    const answer = this.answers.take();
    answer.names = names;
    answer.fill(unique, errno, body, data);
    this.answering++;
    this.parts.device.write(answer);
  }

  private look(): void {
    if (this.paused && this.underWay.size < FUSE_LIMITS.inFlight / 2) {
      this.paused = false;
      this.inbox.pause(false);
    }
    if (this.settled !== null && this.underWay.size === 0 && this.answering === 0) this.settled();
  }
}
