import { asRawstorError, ERROR_CODES } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import type { ChunkOp } from '../protocol/index.js';
import type { Damage } from './checksums/damage.js';
import type { ChunkFile } from './chunk-file.js';

/** What an operation is answered with, as a wire status. */

/** Without checksums only what is on the list is known to be bad; the answer says where. 0: nothing is. */
export function unverified(damage: Damage, chunk: ChunkFile, op: ChunkOp): number {
  return damaged(op, damage.firstIn(chunk, op.offset, op.length));
}

/** The same of what is lost whatever the disk gives. */
export function lost(damage: Damage, chunk: ChunkFile, op: ChunkOp): number {
  return damaged(
    op,
    damage.firstIn(chunk, op.offset, op.length, (block) => damage.isOnRecord(chunk, block)),
  );
}

/** The same of what the disk need not be asked for now. */
export function unreadable(damage: Damage, chunk: ChunkFile, op: ChunkOp): number {
  return damaged(op, damage.firstUnreadable(chunk, op.offset, op.length));
}

function damaged(op: ChunkOp, badOffset: number): number {
  if (badOffset < 0) return 0;
  op.tag = badOffset;
  return ERROR_CODES.CHECKSUM.wire;
}

/** Looking at a file's map or at the disk's space has failed, nothing is on its way: an answer is due all the same. */
export function statusOfFailure(log: Logger, { where: chunk }: ChunkFile, error: unknown): number {
  const failure = asRawstorError(error);
  log.error({ chunk, reason: failure.message }, 'an operation failed');
  return failure.wire;
}
