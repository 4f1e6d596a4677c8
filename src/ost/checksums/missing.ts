import { LIMITS } from '../../common/limits.js';
import type { ChunkFile } from '../chunk-file.js';
import { REGIONS_PER_PAGE } from '../record-codec.js';
import type { Checksums } from './checksums.js';
import type { Damage } from './damage.js';
import { BLOCKS_PER_REGION, SUM_BLOCK_BYTES, ZERO_BLOCK_SUM } from './sum-record.js';

const REGION_BYTES = LIMITS.regionSizeBytes;

export interface Missing {
  readonly from: number;
  readonly until: number;
}

/**
 * The first part of a hole in a file that is not known to be zeros: blocks that have a checksum of something else, or are known
 * to be bad. An empty one at the end of the hole where there is none. A part ends with its region, at the latest.
 */
export function firstMissing(
  checksums: Checksums | null,
  damage: Damage,
  chunk: ChunkFile,
  offset: number,
  end: number,
): Missing {
  for (let at = offset; at < end; ) {
    const region = Math.floor(at / REGION_BYTES);
    const until = Math.min(end, (region + 1) * REGION_BYTES);
    const isMissing = judgeOf(checksums, damage, chunk, region, at, until);
    if (isMissing !== null) {
      const blocks = Math.ceil(until / SUM_BLOCK_BYTES);
      let block = Math.floor(at / SUM_BLOCK_BYTES);
      while (block < blocks && !isMissing(block % BLOCKS_PER_REGION)) block++;
      if (block < blocks) {
        const from = Math.max(at, block * SUM_BLOCK_BYTES);
        while (block < blocks && isMissing(block % BLOCKS_PER_REGION)) block++;
        return { from, until: Math.min(until, block * SUM_BLOCK_BYTES) };
      }
    }
    at = until;
  }
  return { from: end, until: end };
}

/** Says of the blocks of a region whether they are missing; null where none is, as in most holes: they were never written. */
function judgeOf(
  checksums: Checksums | null,
  damage: Damage,
  chunk: ChunkFile,
  region: number,
  at: number,
  until: number,
): ((inRegion: number) => boolean) | null {
  const slot = region % REGIONS_PER_PAGE;
  const sums = checksums?.page(chunk, region).sums ?? null;
  const known = sums?.holds(slot) ? sums.sums(slot) : null;
  const anyBad = damage.firstIn(chunk, at, until - at) >= 0;
  if (known === null && !anyBad) return null;
  const touched = sums?.hasTouched(slot) === true;
  return (inRegion) => {
    if (known !== null && !(touched && sums!.isTouched(slot, inRegion))) {
      return known[inRegion] !== ZERO_BLOCK_SUM;
    }
    return anyBad && damage.isBad(chunk, region * BLOCKS_PER_REGION + inRegion);
  };
}
