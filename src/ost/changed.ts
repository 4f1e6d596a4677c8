import { RawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import type { Params, Result } from '../protocol/index.js';
import type { ChunkFile } from './chunk-file.js';
import type { OstCore } from './core.js';
import { withChunk } from './held-chunk.js';
import { forEachData, hasBit, hasVersion, sizeOfVersion } from './layers/index.js';
import { BLOCKS_PER_REGION, LAYER_BLOCK_BYTES } from './layers/zero-bits.js';
import type { SessionHolder } from './session.js';

const REGION_BYTES = LIMITS.regionSizeBytes;

/**
 * Answers `ost.changed`: blocks that a version, or one between it and `since`, has of its own. Exact to a block, save that one that was
 * written with what it had counts as changed.
 * @throws RawstorError INVALID, STALE_SESSION
 */
export async function changedRuns(
  core: OstCore,
  asked: Params<'ost.changed'>,
  holder: SessionHolder,
): Promise<Result<'ost.changed'>> {
  const session = core.session(asked.handle, holder);
  const { record } = session.object;
  const end = asked.offset + asked.length;
  if (
    end > record.chunkSizeBytes ||
    asked.chunk * record.chunkSizeBytes + end > sizeOfVersion(record, asked.of) ||
    (session.version !== 0 && session.version !== asked.of) ||
    !hasVersion(record, asked.of)
  ) {
    throw new RawstorError('INVALID', 'the range is not in the object', { where: record.id });
  }
  return withChunk(core, session, asked.chunk, asked.of, (chunk) => {
    core.session(asked.handle, holder);
    return { runs: between(core, chunk, asked.since, asked.offset, end) };
  });
}

function between(core: OstCore, chunk: ChunkFile, since: number, offset: number, end: number): number[] {
  const layers: ChunkFile[] = [];
  let layer: ChunkFile | null = chunk;
  while (layer !== null && !(layer.object === chunk.object && layer.version === since)) {
    layers.push(layer);
    layer = layer.below;
  }
  if (since !== 0 && layer === null) {
    throw new RawstorError('INVALID', `version ${chunk.version} does not lie over version ${since}`, {
      where: chunk.where,
      hint: 'only what a volume was before, on its own line of snapshots, can be compared with',
    });
  }
  const runs: number[] = [];
  const add = (length: number, state: number) => {
    if (runs.length > 0 && runs[runs.length - 1] === state) runs[runs.length - 2]! += length;
    else runs.push(length, state);
  };
  for (let at = offset; at < end && runs.length < 2 * LIMITS.extentsPerAnswer; ) {
    const region = Math.floor(at / REGION_BYTES);
    const start = region * REGION_BYTES;
    const until = Math.min(end, start + REGION_BYTES);
    const changed = ofRegion(core, layers, region);
    for (let from = at; from < until && runs.length < 2 * LIMITS.extentsPerAnswer; ) {
      const block = Math.floor((from - start) / LAYER_BLOCK_BYTES);
      const next = Math.min(until, start + (block + 1) * LAYER_BLOCK_BYTES);
      add(next - from, changed[block]!);
      from = next;
    }
    at = until;
  }
  return runs;
}

function ofRegion(core: OstCore, layers: readonly ChunkFile[], region: number): Uint8Array {
  const changed = new Uint8Array(BLOCKS_PER_REGION);
  const start = region * REGION_BYTES;
  for (const layer of layers) {
    if (layer.file !== null) {
      forEachData(layer.file, start, start + REGION_BYTES, (from, until) => {
        const last = Math.ceil((until - start) / LAYER_BLOCK_BYTES);
        changed.fill(1, Math.floor((from - start) / LAYER_BLOCK_BYTES), last);
        return true;
      });
    }
    const bits = core.layers.zeros.bits(layer, region);
    if (bits === null) continue;
    for (let block = 0; block < changed.length; block++) if (hasBit(bits, block)) changed[block] = 1;
  }
  return changed;
}
