import { type BlockDevice, BlockFlag, BlockOp } from '../block/device.js';
import { asRawstorError, type RawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import { ChunkFlag, Command, CommandFlag } from './constants.js';
import { type MetaContext, runsEach, type StatusRun } from './contexts.js';
import type { Replies } from './replies.js';
import { Mark, RecordRing, type RequestRecord } from './request-record.js';
import { blockStatusChunk } from './transmission.js';

/** BLOCK_STATUS of one connection that are worked on or not yet taken. */
const STATUSES_MAX = 4;
/** Runs that a client is told who has not taken what it was told before. */
const RUNS_BEHIND = 500;

export interface RangeHost {
  /** Answers wait for the client. */
  readonly behind: boolean;
  readonly aborted: boolean;
  fail(record: RequestRecord, error: RawstorError): void;
  /** Sends the status reply. */
  finish(record: RequestRecord): void;
  retire(record: RequestRecord): void;
}

/** The commands without payload: FLUSH, TRIM, WRITE_ZEROES, CACHE and BLOCK_STATUS. Long ranges go one part after the other. */
export class RangePath {
  private readonly device: BlockDevice;
  private readonly replies: Replies;
  private readonly host: RangeHost;
  private readonly contexts: readonly MetaContext[];
  private readonly waiting: RecordRing;
  private statuses = 0;

  constructor(
    device: BlockDevice,
    contexts: readonly MetaContext[],
    replies: Replies,
    host: RangeHost,
    capacity: number,
  ) {
    this.device = device;
    this.contexts = contexts;
    this.replies = replies;
    this.host = host;
    this.waiting = new RecordRing(capacity);
  }

  start(record: RequestRecord): void {
    const { request } = record;
    let flags = (record.flags & CommandFlag.FUA) === 0 ? 0 : BlockFlag.FUA;
    switch (record.command) {
      case Command.FLUSH:
        request.op = BlockOp.FLUSH;
        flags = 0;
        break;
      case Command.TRIM:
        request.op = BlockOp.DISCARD;
        break;
      case Command.CACHE:
        request.op = BlockOp.CACHE;
        flags = 0;
        break;
      default:
        request.op = BlockOp.WRITE_ZEROES;
        if ((record.flags & CommandFlag.NO_HOLE) === 0) flags |= BlockFlag.MAY_UNMAP;
        if ((record.flags & CommandFlag.FAST_ZERO) !== 0) flags |= BlockFlag.FAST_ZERO;
    }
    const length = Math.min(record.length - record.started, this.device.limits.rangeMaxBytes);
    request.flags = flags;
    request.offset = record.offset + record.started;
    request.length = length;
    request.slices.clear();
    record.started += length;
    record.live = 1;
    record.span?.mark(Mark.SUBMITTED);
    this.device.submit(request);
  }

  done(record: RequestRecord, error: RawstorError | null): void {
    record.live = 0;
    if (error !== null) this.host.fail(record, error);
    if (record.errno === 0 && record.started < record.length && !this.host.aborted) this.start(record);
    else this.host.finish(record);
  }

  /** Some at a time: each answer may be long, and costs the device a search. */
  status(record: RequestRecord): void {
    if (this.statuses >= STATUSES_MAX) this.waiting.push(record);
    else this.ask(record);
  }

  /** The request is over, in whatever way. */
  retired(record: RequestRecord): void {
    if (!record.statusOut) return;
    record.statusOut = false;
    this.statuses--;
    const next = this.host.aborted ? null : this.waiting.shift();
    if (next !== null) this.ask(next);
  }

  /** After the stream is gone: hands back who waited, one a call. */
  abandon(): RequestRecord | null {
    return this.waiting.shift();
  }

  private ask(record: RequestRecord): void {
    const { offset, length } = record;
    this.statuses++;
    record.statusOut = true;
    record.live = 1;
    Promise.all(this.contexts.map((context) => context.runs(this.device, offset, length))).then(
      (told) => {
        record.live = 0;
        if (this.host.aborted) this.host.retire(record);
        else this.replies.chunk(record, this.chunks(record, told));
      },
      (error) => {
        record.live = 0;
        this.host.fail(record, asRawstorError(error));
        this.host.finish(record);
      },
    );
  }

  /** One chunk a context, the last of them the last of the reply. */
  private chunks(record: RequestRecord, told: readonly StatusRun[][]): Buffer {
    const { contexts } = this;
    const runsMax = runsEach(contexts.length, this.runsFor(record));
    const made = contexts.map((context, i) => {
      const flags = i === contexts.length - 1 ? ChunkFlag.DONE : 0;
      return blockStatusChunk(record, context, told[i]!, record.length, { runsMax, flags });
    });
    return made.length === 1 ? made[0]! : Buffer.concat(made);
  }

  private runsFor(record: RequestRecord): number {
    if ((record.flags & CommandFlag.REQ_ONE) !== 0) return 1;
    return this.host.behind ? RUNS_BEHIND : LIMITS.extentsPerAnswer;
  }
}
