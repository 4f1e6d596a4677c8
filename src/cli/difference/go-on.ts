import { BlockOp } from '../../block/index.js';
import type { Volume } from '../../client/index.js';
import type { Io } from '../../io/index.js';
import { changedRanges, piecesOf } from '../copy/device-pieces.js';
import { Lane } from '../copy/lane.js';
import type { NamedSnapshot } from '../snapshots.js';
import { type DifferenceHead, sameSnapshot } from './format.js';
import type { RangeSet } from './range-set.js';
import { marksOfApplies, standingOf } from './target.js';

/**
 * Whether a volume is half of this very difference over its snapshot, and nothing else: all that has changed is where the stream has something, so that
 * writing all of it again makes it whole.
 * @param ranges of the whole stream; null where it is not known yet
 */
export async function canGoOn(
  volume: Volume,
  base: NamedSnapshot,
  head: DifferenceHead,
  ranges: RangeSet | null,
  io: Io,
): Promise<boolean> {
  if (ranges === null || (await standingOf(volume, base)) !== 'half-applied') return false;
  const last = volume.marks().at(-1);
  const mark = marksOfApplies(volume.object).find((one) => one.version === last?.version);
  if (mark?.origin === undefined || !sameSnapshot(mark.origin, head.to)) return false;
  for await (const { from, until } of changedRanges(volume, mark)) {
    if (ranges.covers(from, until)) continue;
    // Replicas that a killed writer left different count as changed where they may be, until they are read.
    await readAll(volume, from, until, io);
    for await (const one of changedRanges(volume, mark, from)) {
      if (one.from >= until) break;
      if (!ranges.covers(one.from, Math.min(one.until, until))) return false;
    }
  }
  return true;
}

async function readAll(volume: Volume, from: number, until: number, io: Io): Promise<void> {
  const lane = new Lane(io);
  try {
    for await (const { offset, length, zero } of piecesOf(volume, from, until)) {
      const read = zero ? Math.min(length, 512) : length;
      await lane.device(volume, BlockOp.READ, offset, read);
    }
  } finally {
    lane.release();
  }
}
