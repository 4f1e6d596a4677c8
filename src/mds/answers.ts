import { LIMITS } from '../common/limits.js';
import { placeChunkOf } from '../common/placement.js';
import {
  encodeBody,
  type ObjectInfo,
  type ObjectRecord,
  type RecoveryProgress,
  type Result,
} from '../protocol/index.js';
import { isLossUntold, type StoredObject } from './stored-object.js';

/** An id in msgpack: two bytes of header and 36 characters. */
const ID_BYTES = 38;

/** As many of the items, from the first on, as one message holds; at least one. */
export function fitting<T>(items: readonly T[]): T[] {
  const taken: T[] = [];
  let bytes = 0;
  for (const item of items) {
    bytes += encodeBody(item).length;
    if (taken.length > 0 && bytes > LIMITS.answerBytes) break;
    taken.push(item);
  }
  return taken;
}

/** Replicas of `count` chunks, or of as many as there are and one message holds. */
export function placements(object: ObjectRecord, fromChunk: number, count: number): string[][] {
  const total = Math.ceil(object.sizeBytes / object.chunkSizeBytes);
  const held = Math.floor(LIMITS.answerBytes / (object.replicas * ID_BYTES + 1));
  const end = Math.min(total, fromChunk + Math.min(count, held));
  const chunks: string[][] = [];
  for (let chunk = fromChunk; chunk < end; chunk++) {
    chunks.push([...placeChunkOf(object, chunk)]);
  }
  return chunks;
}

export function objectInfo(stored: StoredObject, held: boolean, recovery: RecoveryProgress[]): ObjectInfo {
  const { session, object, clean, lossWallMs, wanted, left } = stored;
  const { holder, sinceWallMs, epoch: sessionEpoch } = session;
  const lease = held ? { holder, sessionEpoch, sinceWallMs } : null;
  return { ...object, clean, lossWallMs, lease, sessionEpoch, wanted, left, recovery };
}

export function openedAnswer(
  stored: StoredObject,
  object: ObjectInfo,
  more: Pick<Result<'mds.open'>, 'wasClean' | 'leaseMs' | 'osts'>,
): Result<'mds.open'> {
  const { session, rebuiltFrom = null } = stored;
  return { object, sessionEpoch: session.epoch, rebuiltFrom, lossUntold: isLossUntold(stored), ...more };
}
