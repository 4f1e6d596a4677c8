import { RawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import type { Params, Result } from '../protocol/index.js';
import { firstMissing } from './checksums/missing.js';
import type { ChunkFile } from './chunk-file.js';
import type { OstCore } from './core.js';
import { withChunk } from './held-chunk.js';
import { forEachData, hasBit, hasVersion, ITSELF, isLayered, NOBODY, sizeOfVersion } from './layers/index.js';
import { BLOCKS_PER_REGION, LAYER_BLOCK_BYTES } from './layers/zero-bits.js';
import { Runs } from './runs.js';
import type { Session } from './session.js';

const State = { DATA: 0, ZERO: 1, BELOW: 2 } as const;

/** Answers `ost.extents`: what a version has of a range. @throws RawstorError INVALID, STALE_SESSION */
export function extents(
  core: OstCore,
  session: Session,
  asked: Params<'ost.extents'>,
): Promise<Result<'ost.extents'>> {
  const { record } = session.object;
  const { chunkVersion, offset } = asked;
  const end = offset + asked.length;
  const ofSession = session.version === 0 || session.version === chunkVersion;
  const start = asked.chunk * record.chunkSizeBytes;
  // Who copies asks behind the end too.
  const copies = session.version === 0;
  const inside =
    end <= record.chunkSizeBytes && (copies || start + end <= sizeOfVersion(record, chunkVersion));
  if (!inside || !ofSession || !hasVersion(record, chunkVersion)) {
    throw new RawstorError('INVALID', 'the range is not in the object', { where: record.id });
  }
  return withChunk(core, session, asked.chunk, chunkVersion, (chunk) => {
    // A hole told for a file that is being given up would be punched into a replica.
    core.session(asked.handle, session.holder);
    const runs = new Runs();
    if (isLayered(chunk)) layered(core, chunk, offset, end, asked, runs);
    else flat(core, chunk, offset, end, runs);
    return { runs: runs.flat };
  });
}

/** A version with nothing below it: what is not data is zeros, unless something else is known to have been there. */
function flat(core: OstCore, chunk: ChunkFile, offset: number, end: number, runs: Runs): void {
  let at = offset;
  const hole = (until: number) => {
    while (at < until && !runs.full) {
      const missing = firstMissing(core.checksums, core.damage, chunk, at, until);
      if (missing.from > at) runs.add(missing.from - at, State.ZERO);
      if (missing.until > missing.from) runs.add(missing.until - missing.from, State.DATA);
      at = missing.until;
    }
  };
  if (chunk.file !== null) {
    forEachData(chunk.file, offset, end, (from, until) => {
      hole(from);
      if (runs.full) return false;
      runs.add(until - from, State.DATA);
      at = until;
      return !runs.full;
    });
  }
  hole(end);
}

function layered(
  core: OstCore,
  chunk: ChunkFile,
  offset: number,
  end: number,
  { layer, above }: Params<'ost.extents'>,
  runs: Runs,
): void {
  const { maps, zeros } = core.layers;
  const own = layer === undefined ? [] : ownLayers(chunk, above ?? chunk.version, layer === 'own');
  let at = offset;
  while (at < end && !runs.full) {
    const region = Math.floor(at / LIMITS.regionSizeBytes);
    const until = Math.min(end, (region + 1) * LIMITS.regionSizeBytes);
    const owners = maps.owners(chunk, region);
    const bits = own.map((one) => zeros.bits(one, region));
    for (let from = at; from < until && !runs.full; ) {
      const block = Math.floor(from / LAYER_BLOCK_BYTES);
      const inRegion = block % BLOCKS_PER_REGION;
      const next = Math.min(until, (block + 1) * LAYER_BLOCK_BYTES);
      const owner = owners[inRegion]!;
      let state: number = owner === NOBODY ? State.ZERO : State.DATA;
      if (layer !== undefined && owner !== ITSELF) {
        const isOwn =
          owner === NOBODY
            ? bits.some((one) => one !== null && hasBit(one, inRegion))
            : own.includes(maps.file(chunk, owner));
        if (!isOwn) state = State.BELOW;
      }
      if (owner !== ITSELF && isMissing(core, chunk, from, next)) state = State.DATA;
      runs.add(next - from, state);
      from = next;
    }
    at = until;
  }
}

/** The version should have the block itself, and has lost it. */
function isMissing(core: OstCore, chunk: ChunkFile, from: number, end: number): boolean {
  return firstMissing(core.checksums, core.damage, chunk, from, end).from < end;
}

/**
 * The version and those below it that come before `above`; with `parents`, where that is not reached in the object itself, those of its
 * parents too: to who has no copy of them all they show is its own.
 */
function ownLayers(chunk: ChunkFile, above: number, parents: boolean): ChunkFile[] {
  const own = [chunk];
  if (above === chunk.version) return own;
  for (let { below } = chunk; below !== null; below = below.below) {
    if (below.object === chunk.object ? below.version === above : !parents) break;
    own.push(below);
  }
  return own;
}
