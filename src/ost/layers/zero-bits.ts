import { LIMITS } from '../../common/limits.js';
import { placeKey, RecordType } from '../record-codec.js';

/** Blocks of a region that are zeros though something lies below (I12): a bit each, lowest first, in a record a region. */

export const LAYER_BLOCK_BYTES = LIMITS.blockBytes;
export const BLOCKS_PER_REGION = LIMITS.regionSizeBytes / LAYER_BLOCK_BYTES;
export const ZERO_BITS_BYTES = BLOCKS_PER_REGION / 8;

/** `Z` id, chunk u32, version u32, region u32. */
export function zeroBitsKey(id: Uint8Array, chunk: number, version: number, region: number): Buffer {
  return placeKey(RecordType.ZEROS, id, chunk, version, region);
}

export function hasBit(bits: Uint8Array, block: number): boolean {
  return (bits[block >>> 3]! & (1 << (block & 7))) !== 0;
}

/** Sets or clears the bits of blocks `from` to `end`; whether any was otherwise. */
export function setBits(bits: Uint8Array, from: number, end: number, on: boolean): boolean {
  let changed = false;
  for (let block = from; block < end; block++) {
    if (hasBit(bits, block) === on) continue;
    bits[block >>> 3] = bits[block >>> 3]! ^ (1 << (block & 7));
    changed = true;
  }
  return changed;
}
