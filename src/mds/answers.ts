import { LIMITS } from '../common/limits.js';
import { placeChunk } from '../common/placement.js';
import { encodeBody, type ObjectRecord } from '../protocol/index.js';

/** Room left in an answer for what stands around its list. */
const ANSWER_BYTES = LIMITS.controlBytes - 64 * 1024;
/** An id in msgpack: two bytes of header and 36 characters. */
const ID_BYTES = 38;

/** As many of the items, from the first on, as one message holds; at least one. */
export function fitting<T>(items: readonly T[]): T[] {
  const taken: T[] = [];
  let bytes = 0;
  for (const item of items) {
    bytes += encodeBody(item).length;
    if (taken.length > 0 && bytes > ANSWER_BYTES) break;
    taken.push(item);
  }
  return taken;
}

/** Replicas of `count` chunks, or of as many as there are and one message holds. */
export function placements(object: ObjectRecord, fromChunk: number, count: number): string[][] {
  const total = Math.ceil(object.sizeBytes / object.chunkSizeBytes);
  const held = Math.floor(ANSWER_BYTES / (object.replicas * ID_BYTES + 1));
  const end = Math.min(total, fromChunk + Math.min(count, held));
  const chunks: string[][] = [];
  for (let chunk = fromChunk; chunk < end; chunk++) {
    chunks.push([...placeChunk(object.map, object.id, object.replicas, chunk)]);
  }
  return chunks;
}
