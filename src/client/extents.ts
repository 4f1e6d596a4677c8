import type { Extent } from '../block/device.js';
import { asRawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import { chunkOf, pieceLength } from './slicing.js';
import type { VolumeState } from './volume-state.js';

const RETRIES = 20;

/** Allocation map of a range, asked chunk by chunk from one in-sync member each; equal neighbours are merged. */
export async function readExtents(state: VolumeState, offset: number, length: number): Promise<Extent[]> {
  const extents: Extent[] = [];
  const end = Math.min(offset + length, state.object.sizeBytes);
  let at = offset;
  while (at < end && extents.length < LIMITS.extentsPerAnswer) {
    const { chunkSizeBytes } = state.object;
    const part = pieceLength(at, end - at, chunkSizeBytes, chunkSizeBytes);
    const runs = await chunkRuns(state, chunkOf(at, chunkSizeBytes), at % chunkSizeBytes, part);
    for (let i = 0; i + 1 < runs.length; i += 2) {
      const lengthBytes = runs[i]!;
      const hole = runs[i + 1] === 1;
      const last = extents.at(-1);
      if (last !== undefined && last.hole === hole) last.lengthBytes += lengthBytes;
      else extents.push({ lengthBytes, hole, zero: hole });
      at += lengthBytes;
    }
    if (runs.length === 0) break;
  }
  return extents;
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
        const chunkVersion = state.object.headVersion;
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
