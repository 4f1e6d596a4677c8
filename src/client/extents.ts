import type { Extent } from '../block/device.js';
import { asRawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import { chunkOf, pieceLength } from './slicing.js';
import type { VolumeState } from './volume-state.js';

const RETRIES = 20;

/** Runs of an allocation map as one list; equal neighbours are merged. */
class ExtentList {
  readonly list: Extent[] = [];

  get full(): boolean {
    return this.list.length >= LIMITS.extentsPerAnswer;
  }

  /** Takes pairs of length and state, as `ost.extents` gives them. @returns the bytes they tell of */
  add(runs: readonly number[]): number {
    let bytes = 0;
    for (let i = 0; i + 1 < runs.length; i += 2) {
      const lengthBytes = runs[i]!;
      const hole = runs[i + 1] === 1;
      const last = this.list.at(-1);
      if (last !== undefined && last.hole === hole) last.lengthBytes += lengthBytes;
      else this.list.push({ lengthBytes, hole, zero: hole });
      bytes += lengthBytes;
    }
    return bytes;
  }
}

/** Allocation map from `offset` to `end`, asked chunk by chunk; `runsOf` gives what `ost.extents` gives. */
export async function chunkExtents(
  offset: number,
  end: number,
  chunkSizeBytes: number,
  runsOf: (chunk: number, offset: number, length: number) => Promise<readonly number[]>,
): Promise<Extent[]> {
  const extents = new ExtentList();
  for (let at = offset; at < end && !extents.full; ) {
    const part = pieceLength(at, end - at, chunkSizeBytes, chunkSizeBytes);
    const told = extents.add(await runsOf(chunkOf(at, chunkSizeBytes), at % chunkSizeBytes, part));
    if (told === 0) break;
    at += told;
  }
  return extents.list;
}

/** Allocation map of a range, from one in-sync member for each chunk. */
export function readExtents(state: VolumeState, offset: number, length: number): Promise<Extent[]> {
  const { sizeBytes, chunkSizeBytes } = state.object;
  const end = Math.min(offset + length, sizeBytes);
  return chunkExtents(offset, end, chunkSizeBytes, (...range) => chunkRuns(state, ...range));
}

async function chunkRuns(
  state: VolumeState,
  chunk: number,
  offset: number,
  length: number,
): Promise<number[]> {
  for (let attempt = 0; ; attempt++) {
    // A hole of one replica may be another's data.
    if (state.differs({ chunk, offset, length })) return [length, 0];
    const attached = state.placement(chunk).filter((member) => member.readable);
    const member = attached.find((one) => one.peer?.local) ?? attached[0];
    if (member?.peer != null) {
      try {
        const chunkVersion = member.headVersion;
        const query = { handle: member.handle, chunk, chunkVersion, offset, length };
        return (await member.peer.call('ost.extents', query)).runs;
      } catch (error) {
        if (attempt >= RETRIES) throw asRawstorError(error);
      }
    }
    // Answering "all data" is always true, only less useful.
    if (attempt >= RETRIES) return [length, 0];
    await state.env.clock.sleep(100);
  }
}
