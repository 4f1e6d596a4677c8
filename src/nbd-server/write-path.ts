import { type BlockDevice, BlockFlag, BlockOp } from '../block/device.js';
import type { RawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import type { PoolAccount } from '../io/index.js';
import type { PoolBuffer } from '../io/pool.js';
import { CommandFlag } from './constants.js';
import { Mark, type RequestRecord } from './request-record.js';

export interface WriteHost {
  fail(parent: RequestRecord, error: RawstorError): void;
  /** Sends the status reply. */
  finish(parent: RequestRecord): void;
  /** Never null: receiving stops before the last record is taken. */
  borrow(): RequestRecord;
  giveBack(record: RequestRecord): void;
  /** Memory came back, and no record with it. */
  eased(): void;
}

/**
 * WRITE. Its payload arrives in pieces, each contiguous in a buffer of the stream's, and each is on its way
 * to the device before the next arrives. After an error, and for a write that was refused from the start,
 * the rest of the payload is taken in and let go. The answer waits for both: all payload, all pieces.
 */
export class WritePath {
  private readonly device: BlockDevice;
  private readonly account: PoolAccount;
  private readonly host: WriteHost;
  private readonly pieceMaxBytes: number;

  constructor(device: BlockDevice, account: PoolAccount, host: WriteHost, pieceMaxBytes: number) {
    this.device = device;
    this.account = account;
    this.host = host;
    this.pieceMaxBytes = pieceMaxBytes;
  }

  /** Payload to ask of the stream next; 0 when all of it is here. */
  nextBytes(parent: RequestRecord): number {
    const pieceBytes = this.account.fittingToReceive(this.pieceMaxBytes, LIMITS.blockBytes);
    return Math.min(pieceBytes, parent.length - parent.started);
  }

  payload(parent: RequestRecord, buffer: PoolBuffer, memoryOffset: number, length: number): void {
    const offset = parent.offset + parent.started;
    parent.started += length;
    if (parent.errno !== 0) {
      this.finishIfWhole(parent);
      return;
    }
    const piece = parent.ownIdle ? parent : this.host.borrow();
    if (piece === parent) parent.ownIdle = false;
    piece.parent = parent;
    piece.buffer = buffer.retain();
    piece.heldBytes = length;
    this.account.heldBytes += length;
    parent.live++;
    const { request } = piece;
    request.op = BlockOp.WRITE;
    request.flags = (parent.flags & CommandFlag.FUA) === 0 ? 0 : BlockFlag.FUA;
    request.offset = offset;
    request.length = length;
    request.slices.clear();
    request.slices.add(buffer.memory, memoryOffset, length);
    piece.span?.mark(Mark.SUBMITTED);
    this.device.submit(request);
  }

  done(piece: RequestRecord, error: RawstorError | null): void {
    const parent = piece.parent;
    if (error !== null) this.host.fail(parent, error);
    this.account.heldBytes -= piece.heldBytes;
    piece.heldBytes = 0;
    piece.buffer!.release();
    piece.buffer = null;
    parent.live--;
    if (piece === parent) {
      parent.ownIdle = true;
      // The rest of its payload may be what receiving was stopped for: nothing else would go on with it.
      this.host.eased();
    } else this.host.giveBack(piece);
    this.finishIfWhole(parent);
  }

  private finishIfWhole(parent: RequestRecord): void {
    if (parent.live === 0 && parent.started === parent.length) this.host.finish(parent);
  }
}
