import { ERROR_CODES } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import { type ChunkOp, Opcode, OpScope, STATUS_STALE_SESSION } from '../protocol/index.js';
import { hasVersion, isWritten, sizeOfVersion } from './layers/lineage.js';
import type { Session, SessionHolder } from './session.js';

/** Whether a data operation may begin: 0, or the wire status of its refusal. */
export function judge(op: ChunkOp, session: Session | undefined, holder: SessionHolder): number {
  if (session === undefined || session.holder !== holder) return STATUS_STALE_SESSION;
  if (session.ended !== 0) return session.ended;
  if (op.sessionEpoch !== session.epoch || op.sessionNumber !== session.number) return STATUS_STALE_SESSION;
  const { opcode } = op;
  if (opcode === Opcode.PING) return 0;
  if (opcode !== Opcode.READ && session.readOnly) return ERROR_CODES.READ_ONLY.wire;
  if (opcode === Opcode.FLUSH) return 0;
  if (opcode < Opcode.READ || opcode > Opcode.FLUSH) return ERROR_CODES.NOT_SUPPORTED.wire;
  // Every change is of some epoch, or its region would not know of it (I2).
  if (opcode !== Opcode.READ && op.tag < 1) return ERROR_CODES.INVALID.wire;
  const { record } = session.object;
  const { chunkSizeBytes } = record;
  const inside =
    op.length > 0 &&
    op.length <= LIMITS.rangeBytes &&
    op.offset + op.length <= chunkSizeBytes &&
    op.chunk * chunkSizeBytes + op.offset + op.length <= endFor(op, session) &&
    mayTouch(op, session);
  if (!inside) return ERROR_CODES.INVALID.wire;
  const carries = opcode === Opcode.READ || opcode === Opcode.WRITE;
  return carries && op.slices.lengthBytes !== op.length ? ERROR_CODES.INVALID.wire : 0;
}

/**
 * How far the volume goes for it. Replicas are made alike behind the end of a version too, where zeros hide what an older, longer
 * one has. What was cut off is erased there: a smaller size is recorded first.
 */
function endFor({ opcode, chunkVersion, scope }: ChunkOp, { object, readOnly, version }: Session): number {
  const copies = scope === OpScope.COPY || (readOnly && version === 0);
  if (copies || opcode === Opcode.ERASE) return Number.POSITIVE_INFINITY;
  return sizeOfVersion(object.record, chunkVersion);
}

/** Frozen versions are read, and changed by copies only. */
function mayTouch({ opcode, chunkVersion, scope }: ChunkOp, { object, version }: Session): boolean {
  const { record } = object;
  if (version !== 0) return opcode === Opcode.READ && chunkVersion === version;
  if (isWritten(record, chunkVersion)) return true;
  return (opcode === Opcode.READ || scope === OpScope.COPY) && hasVersion(record, chunkVersion);
}
