import { assert } from '../common/assert.js';
import type { RawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import type { PoolAccount, Shareholder } from '../io/index.js';
import type { BatchTask, Stream } from '../io/types.js';
import { Command } from './constants.js';
import { Intake, type IntakeHost } from './intake.js';
import { HEADER_SLOT_BYTES, type PhaseContext } from './phase-context.js';
import { RangePath } from './range-path.js';
import { ReadPath } from './read-path.js';
import { Replies } from './replies.js';
import { Emission, type RecordOwner, RequestRecord } from './request-record.js';
import { errnoOf, type RequestRules, refusalText } from './transmission.js';
import { WritePath } from './write-path.js';

/**
 * The transmission phase of one connection: takes requests in, hands them to the device, sends the replies,
 * and stops receiving while a bound is reached. Nothing is allocated for a request that goes well.
 */
export class TransmissionPhase implements RecordOwner, IntakeHost, Shareholder, BatchTask {
  readonly stream: Stream;
  private readonly context: PhaseContext;
  private readonly rules: RequestRules;
  private readonly free: RequestRecord[] = [];
  private readonly records: RequestRecord[] = [];
  private readonly account: PoolAccount;
  private readonly replies: Replies;
  private readonly reads: ReadPath;
  private readonly writes: WritePath;
  private readonly ranges: RangePath;
  private readonly intake: Intake;
  /** Requests begun and not retired. */
  private inFlight = 0;
  /** No more requests are taken; the stream ends after the last reply. */
  private ending = false;
  private ended = false;
  private closed = false;
  private over = false;

  constructor(context: PhaseContext) {
    const { stream, device, headers, limits, rules } = context;
    this.context = context;
    this.stream = stream;
    this.rules = rules;
    const capacity = limits.requestsMax;
    const pieceMaxBytes = Math.min(limits.pieceBytes, device.limits.payloadMaxBytes);
    this.account = context.shares.open(this);
    this.replies = new Replies(stream, headers.memory, rules.structured, capacity, this);
    this.reads = new ReadPath(device, this.account, this.replies, this, {
      structured: rules.structured,
      pieceMaxBytes,
      piecesMax: limits.readPiecesMax,
      capacity,
    });
    this.writes = new WritePath(device, this.account, this, pieceMaxBytes);
    this.ranges = new RangePath(device, rules.contexts, this.replies, this, capacity);
    this.intake = new Intake(stream, headers.memory, rules, this.writes, this);
    context.stats.connections++;
    context.stats.connectionsTotal++;
  }

  start(): void {
    this.stream.onDrain = () => this.goOnIfRelieved();
    this.stream.onPeerEnd = () => this.peerEnded();
    this.intake.start();
  }

  /** Answers what was received, then ends the stream. */
  end(): void {
    this.ending = true;
    this.intake.end();
    this.endIfDone();
  }

  /** To be called by the owner of the stream's onClose. */
  streamClosed(): void {
    this.closed = true;
    this.ending = true;
    const cut = this.intake.current;
    this.intake.current = null;
    if (cut !== null) {
      // The rest of its payload will never come.
      cut.started = cut.length;
      if (cut.live === 0) this.retire(cut);
    }
    this.context.device.withdraw?.((request) => this.records.some((record) => record.request === request));
    this.reads.pump();
    for (let record = this.ranges.abandon(); record !== null; record = this.ranges.abandon()) {
      this.retire(record);
    }
    for (let record = this.replies.abandon(); record !== null; record = this.replies.abandon()) {
      this.abandon(record);
    }
    for (const record of this.records) if (record.ordered && record.live > 0) this.reads.abandon(record);
    this.overIfDone();
  }

  get aborted(): boolean {
    return this.closed || this.stream.closed;
  }

  get behind(): boolean {
    return this.stream.queuedBytes > 0;
  }

  // ---- receiving

  get full(): boolean {
    return (
      this.left === 0 ||
      this.reads.waiting > 0 ||
      this.account.full() ||
      this.stream.queuedBytes > LIMITS.connectionQueuedBytes
    );
  }

  get relieved(): boolean {
    return (
      !this.aborted &&
      this.left > this.context.limits.requestsMax / 4 &&
      this.reads.waiting === 0 &&
      this.account.relieved() &&
      this.stream.queuedBytes <= LIMITS.connectionQueuedBytes / 2
    );
  }

  take(): RequestRecord {
    const record = this.borrow();
    this.inFlight++;
    this.context.stats.inFlight++;
    return record;
  }

  dispatch(record: RequestRecord): void {
    if (record.errno !== 0 || (record.length === 0 && record.command !== Command.FLUSH)) this.finish(record);
    else if (record.command === Command.READ) this.reads.start(record);
    else if (record.command === Command.BLOCK_STATUS) this.ranges.status(record);
    else this.ranges.start(record);
  }

  disconnected(): void {
    this.ending = true;
    this.endIfDone();
  }

  /** As DISC, which a client that only shuts its side down did not send; but a payload may be cut off. */
  private peerEnded(): void {
    if (this.intake.current === null) this.disconnected();
    else this.stream.destroy();
  }

  /** Receiving goes on at the end of the turn, not from within whatever made room. */
  private goOnIfRelieved(): void {
    if (this.reads.waiting > 0 || this.intake.mayResume()) this.context.io.schedule(this);
  }

  runBatch(): void {
    if (this.over) return;
    if (this.reads.waiting > 0) this.reads.pump();
    this.intake.resume();
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
    record.span?.end();
    record.span = null;
    this.inFlight--;
    this.ranges.retired(record);
    this.giveBack(record);
    if (this.ending) this.endIfDone();
  }

  borrow(): RequestRecord {
    return this.free.pop() ?? this.make();
  }

  borrowSpare(): RequestRecord | null {
    // Half of the records are kept for requests to come.
    return this.left > this.context.limits.requestsMax / 2 ? this.borrow() : null;
  }

  giveBack(record: RequestRecord): void {
    record.parent = record;
    record.ordered = false;
    this.free.push(record);
    this.eased();
  }

  eased(): void {
    if (this.intake.paused) this.goOnIfRelieved();
  }

  /** Memory of this connection comes back with its own replies; of that of others it is told. */
  waitForMemory(): void {
    this.account.wait();
  }

  memoryBack(): void {
    if (!this.over) this.context.io.schedule(this);
  }

  stoodStill(): void {
    this.fault('it stood still while others waited for the memory that it held');
  }

  breakOff(error: RawstorError | null): void {
    this.fault(`read failed after its reply had begun: ${error?.message ?? 'unknown error'}`);
  }

  // ---- ending

  fault(what: string): void {
    this.context.onFault(what);
    this.stream.destroy();
  }

  /** Records that can still be had. Made when they are first needed: most connections never need many. */
  private get left(): number {
    return this.free.length + this.context.limits.requestsMax - this.records.length;
  }

  private make(): RequestRecord {
    const { headers, limits } = this.context;
    const { length } = this.records;
    assert(length < limits.requestsMax, 'something was received while receiving was paused');
    const record = new RequestRecord(this, headers.offset + length * HEADER_SLOT_BYTES);
    this.records.push(record);
    return record;
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
    this.account.close();
    this.context.headers.release();
    this.context.onOver();
  }
}
