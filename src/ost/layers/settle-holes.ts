import { LIMITS } from '../../common/limits.js';
import type { IoFile } from '../../io/types.js';
import { forEachData } from './data-runs.js';
import { punchHole } from './punch.js';

/**
 * Makes what the file system calls a hole into one, in these regions. After a power loss there may be extents that were
 * allocated and never written: they count as holes until somebody reads them, and as data from then on.
 */
export async function settleHoles(file: IoFile, regions: Iterable<number>): Promise<void> {
  for (const region of regions) {
    const start = region * LIMITS.regionSizeBytes;
    const end = start + LIMITS.regionSizeBytes;
    const holes: { offset: number; length: number }[] = [];
    let at = start;
    forEachData(file, start, end, (from, until) => {
      if (from > at) holes.push({ offset: at, length: from - at });
      at = until;
      return true;
    });
    if (at < end) holes.push({ offset: at, length: end - at });
    for (const { offset, length } of holes) await punchHole(file, offset, length);
  }
}
