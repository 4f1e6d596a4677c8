import { RawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import type { ObjectRecord, Params, Result } from '../protocol/index.js';
import { firstMissing } from './checksums/missing.js';
import type { ChunkFile } from './chunk-file.js';
import type { OstCore } from './core.js';
import { withChunk } from './held-chunk.js';
import { forEachData, hasBit, hasVersion, overOf, sizeOfVersion } from './layers/index.js';
import { BLOCKS_PER_REGION, LAYER_BLOCK_BYTES } from './layers/zero-bits.js';
import { Runs } from './runs.js';
import type { SessionHolder } from './session.js';

const REGION_BYTES = LIMITS.regionSizeBytes;
/** Regions looked at for one answer, each version counting: long chains and large chunks are told in parts. */
const LOOKS_MAX = 8192;
/** Of a block that no version has. */
const NOBODY = 0;

/**
 * Answers `ost.changed`: which of the versions from `of` down to, and without, `since` has each block. Exact to a block, save that one
 * that was written with what it had counts as changed. Where `since` is 0, those of the parents count too.
 * @throws RawstorError INVALID, NOT_FOUND, STALE_SESSION
 */
export async function changedRuns(
  core: OstCore,
  asked: Params<'ost.changed'>,
  holder: SessionHolder,
): Promise<Result<'ost.changed'>> {
  const session = core.session(asked.handle, holder);
  const { record } = session.object;
  const end = asked.offset + asked.length;
  // The writer may have made the volume larger since this OST was told of it.
  const ofWriter = session.version === 0;
  if (
    end > record.chunkSizeBytes ||
    (!ofWriter && asked.chunk * record.chunkSizeBytes + end > sizeOfVersion(record, asked.of)) ||
    (!ofWriter && session.version !== asked.of) ||
    !hasVersion(record, asked.of)
  ) {
    throw new RawstorError('INVALID', 'the range is not in the object', { where: record.id });
  }
  checkSince(record, asked);
  return withChunk(core, session, asked.chunk, asked.of, (chunk) => {
    core.session(asked.handle, holder);
    // Removed while the files were opened: what it had may have gone to the version over it.
    checkSince(session.object.record, asked);
    return { runs: depths(core, layersOf(chunk, asked.since), asked.offset, end) };
  });
}

/** @throws RawstorError NOT_FOUND when `since` is no snapshot (any more), INVALID when `of` does not lie over it */
function checkSince(record: ObjectRecord, { of, since }: Params<'ost.changed'>): void {
  if (since === 0) return;
  const isNamed = record.snapshots.some((one) => one.version === since && one.name !== null);
  // A head that this OST does not know yet, or not any more, lies over what it froze.
  if (!isNamed && since !== of) {
    throw new RawstorError('NOT_FOUND', `there is no snapshot of version ${since} any more`, {
      where: record.id,
      hint: 'what it was can be compared with nothing: take a full copy',
    });
  }
  for (let at = of; at !== since; at = overOf(record, at)) {
    if (at !== 0) continue;
    throw new RawstorError('INVALID', `version ${of} does not lie over version ${since}`, {
      where: record.id,
      hint: 'only what a volume was before, on its own line of snapshots, can be compared with',
    });
  }
}

function layersOf(chunk: ChunkFile, since: number): ChunkFile[] {
  const layers: ChunkFile[] = [];
  for (let at: ChunkFile | null = chunk; at !== null; at = at.below) {
    if (at.object === chunk.object && at.version === since) break;
    layers.push(at);
  }
  return layers;
}

function depths(core: OstCore, layers: readonly ChunkFile[], offset: number, end: number): number[] {
  const runs = new Runs();
  let looks = LOOKS_MAX;
  for (let at = offset; at < end && !runs.full && looks > 0; looks -= 1 + layers.length) {
    const region = Math.floor(at / REGION_BYTES);
    const start = region * REGION_BYTES;
    const until = Math.min(end, start + REGION_BYTES);
    const owners = ofRegion(core, layers, region);
    if (owners === null) {
      runs.add(until - at, NOBODY);
      at = until;
    }
    while (at < until && !runs.full) {
      const block = Math.floor((at - start) / LAYER_BLOCK_BYTES);
      const next = Math.min(until, start + (block + 1) * LAYER_BLOCK_BYTES);
      runs.add(next - at, owners![block]!);
      at = next;
    }
  }
  return runs.flat;
}

/** For each block the number of the nearest layer that has it, from 1 on; null where none has any. */
function ofRegion(core: OstCore, layers: readonly ChunkFile[], region: number): Uint16Array | null {
  let owners: Uint16Array | null = null;
  for (const [i, layer] of layers.entries()) {
    const start = region * REGION_BYTES;
    const length = Math.min(REGION_BYTES, layer.sizeBytes - start);
    // Nothing of it is left, or soon will be: what is on record of it is not to come back into memory.
    if (i > 0 && layer.file === null && !layer.recorded) continue;
    // Nothing is written to a region before its epoch is on record (I2).
    if (length <= 0 || core.regions.highest(layer, start, length) === 0) continue;
    owners ??= new Uint16Array(BLOCKS_PER_REGION);
    const into = owners;
    const take = (from: number, until: number) => {
      const last = Math.ceil((until - start) / LAYER_BLOCK_BYTES);
      for (let block = Math.floor((from - start) / LAYER_BLOCK_BYTES); block < last; block++) {
        if (into[block] === NOBODY) into[block] = i + 1;
      }
      return true;
    };
    const end = start + length;
    if (layer.file !== null) forEachData(layer.file, start, end, take);
    const bits = core.layers.zeros.bits(layer, region);
    if (bits !== null) {
      for (let block = 0; block < BLOCKS_PER_REGION; block++) {
        if (into[block] === NOBODY && hasBit(bits, block)) into[block] = i + 1;
      }
    }
    // It had something there, and has lost it.
    for (let at = start; at < end; ) {
      const missing = firstMissing(core.checksums, core.damage, layer, at, end);
      if (missing.from < missing.until) take(missing.from, missing.until);
      at = missing.until;
    }
  }
  return owners;
}
