import type { BlockDevice } from '../block/device.js';
import { assert } from '../common/assert.js';
import type { RawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import { KiB, MiB } from '../common/units.js';
import type { Memory } from '../io/memory.js';
import type { PoolBuffer } from '../io/pool.js';
import type { BatchTask, FrameHandler, Io, Stream } from '../io/types.js';
import { PoolAccount } from './account.js';
import { Command, NBD_LIMITS, REQUEST_BYTES } from './constants.js';
import { RangePath } from './range-path.js';
import { ReadPath } from './read-path.js';
import { Replies } from './replies.js';
import { Emission, type RecordOwner, RequestRecord } from './request-record.js';
import type { ExportStats } from './stats.js';
import {
  checkRequest,
  decodeRequest,
  errnoOf,
  RequestHeader,
  type RequestRules,
  refusalText,
  viewOf,
} from './transmission.js';
import { WritePath } from './write-path.js';

export interface PhaseLimits {
  /** Requests of one connection that are received and not yet answered in full. A power of two. */
  requestsMax: number;
  /** Pool bytes that one connection's data may hold. */
  heldMaxBytes: number;
  /** Long requests are cut in pieces of this size, at most the largest pool buffer. */
  pieceBytes: number;
  /** Pieces of one read at a time. */
  readPiecesMax: number;
}

export const DEFAULT_PHASE_LIMITS: PhaseLimits = {
  requestsMax: 128,
  heldMaxBytes: 32 * MiB,
  pieceBytes: 256 * KiB,
  readPiecesMax: 16,
};

/** Bytes of header memory that a record has: the longest header is a data chunk's, 28. */
const HEADER_SLOT_BYTES = 32;

export interface PhaseContext {
  readonly io: Io;
  readonly stream: Stream;
  readonly device: BlockDevice;
  readonly stats: ExportStats;
  readonly rules: RequestRules;
  readonly limits: PhaseLimits;
  /** Requests' reply headers are written here; given back when the phase is over. */
  readonly headers: PoolBuffer;
  /** The client broke the protocol, or a reply could not be completed; the stream has been destroyed. */
  onFault(what: string): void;
  /** The stream is closed and every request has come back from the device. Once. */
  onOver(): void;
}

export function headerMemoryBytes(limits: PhaseLimits): number {
  return limits.requestsMax * HEADER_SLOT_BYTES;
}

/**
 * The transmission phase of one connection: takes requests in, hands them to the device, sends the replies,
 * and stops receiving while a bound is reached. Nothing is allocated for a request that goes well.
 */
export class TransmissionPhase implements RecordOwner, BatchTask {
  private readonly context: PhaseContext;
  private readonly stream: Stream;
  private readonly rules: RequestRules;
  private readonly free: RequestRecord[] = [];
  private readonly records: RequestRecord[] = [];
  private readonly account: PoolAccount;
  private readonly replies: Replies;
  private readonly reads: ReadPath;
  private readonly writes: WritePath;
  private readonly ranges: RangePath;
  private readonly parsed = new RequestHeader();
  private view: DataView;
  private viewMemory: Memory;
  /** Requests begun and not retired. */
  private inFlight = 0;
  /** The request whose frame, or whose payload, is being received. */
  private current: RequestRecord | null = null;
  private paused = false;
  private waitsForMemory = false;
  /** No more requests are taken; the stream ends after the last reply. */
  private ending = false;
  private ended = false;
  private closed = false;
  private over = false;

  private readonly requestFrames: FrameHandler = {
    headerBytes: REQUEST_BYTES,
    header: (memory, offset) => this.requestHeader(memory, offset),
    frame: (buffer, offset, length) => this.requestFrame(buffer, offset, length),
  };
  /** The rest of a payload that is longer than a piece: frames without headers. */
  private readonly payloadFrames: FrameHandler = {
    headerBytes: 0,
    header: () => this.writes.nextBytes(this.current!),
    frame: (buffer, offset, length) => this.payloadFrame(buffer!, offset, length),
  };

  constructor(context: PhaseContext) {
    const { io, stream, device, headers, limits, rules } = context;
    this.context = context;
    this.stream = stream;
    this.rules = rules;
    this.viewMemory = headers.memory;
    this.view = viewOf(headers.memory.bytes);
    for (let i = limits.requestsMax - 1; i >= 0; i--) {
      const record = new RequestRecord(this, headers.offset + i * HEADER_SLOT_BYTES);
      this.records.push(record);
      this.free.push(record);
    }
    const capacity = limits.requestsMax;
    const pieceMaxBytes = Math.min(limits.pieceBytes, device.limits.payloadMaxBytes);
    this.account = new PoolAccount(io.pool, limits.heldMaxBytes);
    this.replies = new Replies(stream, headers.memory, rules.structured, capacity, this);
    this.reads = new ReadPath(device, this.account, this.replies, this, {
      structured: rules.structured,
      pieceMaxBytes,
      piecesMax: limits.readPiecesMax,
      capacity,
    });
    this.writes = new WritePath(device, this.account, this, pieceMaxBytes);
    this.ranges = new RangePath(device, this.replies, this);
    context.stats.connections++;
    context.stats.connectionsTotal++;
  }

  start(): void {
    this.stream.onDrain = () => this.goOnIfRelieved();
    this.stream.receive(this.requestFrames);
  }

  /** Answers what was received, then ends the stream. */
  end(): void {
    this.ending = true;
    // A payload that is half here is still taken in: its request was received.
    if (this.current === null) this.pause();
    this.endIfDone();
  }

  /** To be called by the owner of the stream's onClose. */
  streamClosed(): void {
    this.closed = true;
    this.ending = true;
    const cut = this.current;
    this.current = null;
    if (cut !== null) {
      // The rest of its payload will never come.
      cut.started = cut.length;
      if (cut.live === 0) this.retire(cut);
    }
    this.reads.pump();
    for (let record = this.replies.abandon(); record !== null; record = this.replies.abandon()) {
      this.abandon(record);
    }
    for (const record of this.records) if (record.ordered && record.live > 0) this.reads.abandon(record);
    this.overIfDone();
  }

  get aborted(): boolean {
    return this.closed || this.stream.closed;
  }

  // ---- receiving

  private requestHeader(memory: Memory, offset: number): number {
    if (memory !== this.viewMemory) {
      this.viewMemory = memory;
      this.view = viewOf(memory.bytes);
    }
    const { parsed } = this;
    if (!decodeRequest(this.view, offset, parsed)) return this.fault('request without its magic');
    if (parsed.command === Command.DISC) {
      this.ending = true;
      this.endIfDone();
      return -1;
    }
    if (parsed.command === Command.WRITE && parsed.length > NBD_LIMITS.payloadMaxBytes) {
      return this.fault(`write of ${parsed.length} bytes`);
    }
    const record = this.free.pop();
    assert(record !== undefined, 'a request was received while receiving was paused');
    record.begin(parsed);
    record.errno = checkRequest(parsed, this.rules);
    this.inFlight++;
    this.context.stats.inFlight++;
    this.current = record;
    return parsed.command === Command.WRITE ? this.writes.nextBytes(record) : 0;
  }

  private requestFrame(buffer: PoolBuffer | null, offset: number, length: number): void {
    const record = this.current!;
    if (buffer !== null) {
      this.payload(record, buffer, offset, length);
      if (this.current !== null) this.stream.receive(this.payloadFrames);
      return;
    }
    this.current = null;
    if (record.errno !== 0 || (record.length === 0 && record.command !== Command.FLUSH)) this.finish(record);
    else if (record.command === Command.READ) this.reads.start(record);
    else if (record.command === Command.BLOCK_STATUS) this.ranges.status(record);
    else this.ranges.start(record);
    this.pauseIfFull();
  }

  private payloadFrame(buffer: PoolBuffer, offset: number, length: number): void {
    this.payload(this.current!, buffer, offset, length);
    if (this.current === null) this.stream.receive(this.requestFrames);
  }

  private payload(record: RequestRecord, buffer: PoolBuffer, offset: number, length: number): void {
    if (record.started + length === record.length) this.current = null;
    this.writes.payload(record, buffer, offset, length);
    this.pauseIfFull();
  }

  private pauseIfFull(): void {
    if (
      this.free.length === 0 ||
      this.reads.waiting > 0 ||
      this.account.full() ||
      this.stream.queuedBytes > LIMITS.connectionQueuedBytes ||
      (this.ending && this.current === null)
    ) {
      this.pause();
    }
  }

  private pause(): void {
    if (this.paused || this.aborted) return;
    this.paused = true;
    this.stream.pause();
  }

  /** Receiving goes on at the end of the turn, not from within whatever made room. */
  private goOnIfRelieved(): void {
    if (this.reads.waiting > 0 || this.relieved()) this.context.io.schedule(this);
  }

  private relieved(): boolean {
    return (
      !this.aborted &&
      !(this.ending && this.current === null) &&
      this.free.length > this.context.limits.requestsMax / 4 &&
      this.reads.waiting === 0 &&
      this.account.relieved() &&
      this.stream.queuedBytes <= LIMITS.connectionQueuedBytes / 2
    );
  }

  runBatch(): void {
    if (this.over) return;
    if (this.reads.waiting > 0) this.reads.pump();
    if (this.paused && this.relieved()) {
      this.paused = false;
      this.stream.resume();
    }
  }

  // ---- coming back

  pieceDone(piece: RequestRecord, error: RawstorError | null): void {
    const command = piece.parent.command;
    if (command === Command.READ) this.reads.done(piece, error);
    else if (command === Command.WRITE) this.writes.done(piece, error);
    else this.ranges.done(piece, error);
  }

  pieceSent(piece: RequestRecord): void {
    if (!piece.replying) this.reads.sent(piece);
    else {
      piece.replying = false;
      this.retire(piece);
    }
  }

  orderedTurn(parent: RequestRecord): void {
    this.reads.orderedTurn(parent);
  }

  finish(record: RequestRecord): void {
    if (this.aborted) this.retire(record);
    else this.replies.reply(record);
  }

  fail(record: RequestRecord, error: RawstorError): void {
    if (record.errno !== 0) return;
    record.errno = errnoOf(error, record.command, record.flags);
    record.failure = error;
  }

  explain(record: RequestRecord): string {
    return record.failure?.toUserText() ?? refusalText(record, this.rules);
  }

  retire(record: RequestRecord): void {
    const { stats } = this.context;
    const op = stats.of(record.command);
    op.requests++;
    op.bytes += record.length;
    if (record.errno !== 0) op.errors++;
    stats.inFlight--;
    record.failure = null;
    record.chunk = null;
    this.inFlight--;
    this.giveBack(record);
    if (this.ending) this.endIfDone();
  }

  borrow(): RequestRecord {
    const record = this.free.pop();
    assert(record !== undefined, 'payload was received while receiving was paused');
    return record;
  }

  borrowSpare(): RequestRecord | null {
    // Half of the records are kept for requests to come.
    return this.free.length > this.context.limits.requestsMax / 2 ? this.free.pop()! : null;
  }

  giveBack(record: RequestRecord): void {
    record.parent = record;
    record.ordered = false;
    this.free.push(record);
    if (this.paused) this.goOnIfRelieved();
  }

  /** Memory of this connection comes back with its own replies; for that of others the pool calls. */
  waitForMemory(): void {
    if (this.waitsForMemory) return;
    this.waitsForMemory = true;
    this.context.io.pool.whenFree(() => {
      this.waitsForMemory = false;
      if (!this.over) this.context.io.schedule(this);
    });
  }

  breakOff(error: RawstorError | null): void {
    this.fault(`read failed after its reply had begun: ${error?.message ?? 'unknown error'}`);
  }

  // ---- ending

  private fault(what: string): -1 {
    this.context.onFault(what);
    this.stream.destroy();
    return -1;
  }

  private abandon(record: RequestRecord): void {
    const { emission } = record;
    record.emission = Emission.NONE;
    if (emission === Emission.REPLY) this.retire(record);
    else if (emission === Emission.PIECE) this.reads.drop(record);
  }

  private endIfDone(): void {
    if (!this.ending || this.inFlight > 0) return;
    if (!this.closed && !this.ended) {
      this.ended = true;
      this.stream.end();
    }
    this.overIfDone();
  }

  private overIfDone(): void {
    if (!this.closed || this.inFlight > 0 || this.over) return;
    this.over = true;
    this.context.stats.connections--;
    this.context.headers.release();
    this.context.onOver();
  }
}
