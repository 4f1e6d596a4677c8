import { type BlockDevice, BlockFlag, BlockOp } from '../block/device.js';
import { asRawstorError, type RawstorError } from '../common/errors.js';
import { BASE_ALLOCATION_ID, Command, CommandFlag } from './constants.js';
import type { Replies } from './replies.js';
import type { RequestRecord } from './request-record.js';
import { blockStatusChunk } from './transmission.js';

export interface RangeHost {
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

  constructor(device: BlockDevice, replies: Replies, host: RangeHost) {
    this.device = device;
    this.replies = replies;
    this.host = host;
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
    this.device.submit(request);
  }

  done(record: RequestRecord, error: RawstorError | null): void {
    record.live = 0;
    if (error !== null) this.host.fail(record, error);
    if (record.errno === 0 && record.started < record.length && !this.host.aborted) this.start(record);
    else this.host.finish(record);
  }

  status(record: RequestRecord): void {
    const { offset, length } = record;
    record.live = 1;
    this.device.extents(offset, length).then(
      (extents) => {
        record.live = 0;
        if (this.host.aborted) {
          this.host.retire(record);
          return;
        }
        const one = (record.flags & CommandFlag.REQ_ONE) !== 0;
        this.replies.chunk(record, blockStatusChunk(record, BASE_ALLOCATION_ID, extents, length, one));
      },
      (error) => {
        record.live = 0;
        this.host.fail(record, asRawstorError(error));
        this.host.finish(record);
      },
    );
  }
}
