import { crc32c } from '../../io/index.js';
import { heapMemory } from '../../io/memory.js';
import { placeKey, RecordType } from '../record-codec.js';
import type { Change } from '../store.js';

/** Blocks that have a checksum each, and the most of them in a region. */
export const SUM_BLOCK_BYTES = 4096;
export const BLOCKS_PER_REGION = 1024;

/** CRC-32C of a block of zeros: blocks that have it take no room in a record, so that holes cost nothing. */
export const ZERO_BLOCK_SUM = crc32c(heapMemory(SUM_BLOCK_BYTES), 0, SUM_BLOCK_BYTES);

const EPOCH_AT = 0;
const GUARD_AT = 8;
const BITMAP_AT = 12;
const BITMAP_BYTES = BLOCKS_PER_REGION / 8;
const SUMS_AT = BITMAP_AT + BITMAP_BYTES;
const TWO32 = 4294967296;

export function sumsKey(id: Uint8Array, chunk: number, version: number, region: number): Buffer {
  return placeKey(RecordType.SUMS, id, chunk, version, region);
}

/**
 * The checksums of a region while its epoch is `epoch`: epoch, a checksum over the rest of the record (damage of the
 * record must not be taken for damage of the data), a bit for every block that is not all zeros, and the sums of those.
 */
export function encodeSums(epoch: number, sums: Uint32Array): Buffer {
  let count = 0;
  for (let i = 0; i < BLOCKS_PER_REGION; i++) if (sums[i] !== ZERO_BLOCK_SUM) count++;
  const value = Buffer.alloc(SUMS_AT + count * 4);
  value.writeUInt32LE(epoch % TWO32, EPOCH_AT);
  value.writeUInt32LE(Math.floor(epoch / TWO32), EPOCH_AT + 4);
  let at = SUMS_AT;
  for (let i = 0; i < BLOCKS_PER_REGION; i++) {
    if (sums[i] === ZERO_BLOCK_SUM) continue;
    value[BITMAP_AT + (i >>> 3)]! |= 1 << (i & 7);
    at = value.writeUInt32LE(sums[i]!, at);
  }
  value.writeUInt32LE(guardOf(value), GUARD_AT);
  return value;
}

/** The epoch for which the record holds, or 0 when it is none that can be read. Looks at the head alone. */
export function epochOfSums(value: Buffer): number {
  if (value.length < SUMS_AT) return 0;
  return value.readUInt32LE(EPOCH_AT + 4) * TWO32 + value.readUInt32LE(EPOCH_AT);
}

/** Fills `into`, all of it; false when the record is damaged: then there are no sums. */
export function decodeSums(value: Buffer, into: Uint32Array): boolean {
  if (value.length < SUMS_AT || guardOf(value) !== value.readUInt32LE(GUARD_AT)) return false;
  let at = SUMS_AT;
  for (let i = 0; i < BLOCKS_PER_REGION; i++) {
    if ((value[BITMAP_AT + (i >>> 3)]! & (1 << (i & 7))) === 0) {
      into[i] = ZERO_BLOCK_SUM;
      continue;
    }
    if (at + 4 > value.length) return false;
    into[i] = value.readUInt32LE(at);
    at += 4;
  }
  return at === value.length;
}

export function sumsChange(key: Buffer, epoch: number, sums: Uint32Array): Change {
  return { key, value: encodeSums(epoch, sums) };
}

/** Of all but the guard itself. */
function guardOf(value: Buffer): number {
  const memory = { bytes: value, address: 0 };
  return crc32c(memory, BITMAP_AT, value.length - BITMAP_AT, crc32c(memory, EPOCH_AT, GUARD_AT));
}
