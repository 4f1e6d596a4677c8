import { RawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import type { Params, Result } from '../protocol/index.js';
import type { ChunkFile } from './chunk-file.js';
import type { OstCore } from './core.js';
import { forEachData, hasBit, hasVersion, ITSELF, isLayered, NOBODY, sizeOfVersion } from './layers/index.js';
import { BLOCKS_PER_REGION, LAYER_BLOCK_BYTES } from './layers/zero-bits.js';
import type { SessionHolder } from './session.js';

const State = { DATA: 0, ZERO: 1, BELOW: 2 } as const;

/** Runs of length and state, joined; full when an answer has no more room. */
class Runs {
  readonly flat: number[] = [];
  private readonly limit = LIMITS.extentsPerAnswer * 2;

  get full(): boolean {
    return this.flat.length >= this.limit;
  }

  add(length: number, state: number): void {
    const { flat } = this;
    if (flat.length > 0 && flat[flat.length - 1] === state) flat[flat.length - 2]! += length;
    else if (!this.full) flat.push(length, state);
  }
}

/** Answers `ost.extents`: what a version has of a range. @throws RawstorError INVALID, STALE_SESSION */
export async function extents(
  core: OstCore,
  asked: Params<'ost.extents'>,
  holder: SessionHolder,
): Promise<Result<'ost.extents'>> {
  const session = core.session(asked.handle, holder);
  const { record } = session.object;
  const { chunkVersion, offset, length } = asked;
  const end = offset + length;
  const ofSession = session.version === 0 || session.version === chunkVersion;
  if (
    end > record.chunkSizeBytes ||
    asked.chunk * record.chunkSizeBytes + end > sizeOfVersion(record, chunkVersion) ||
    !ofSession ||
    !hasVersion(record, chunkVersion)
  ) {
    throw new RawstorError('INVALID', 'the range is not in the object', { where: record.id });
  }
  const chunk = core.chunks.chunk(session.object, asked.chunk, chunkVersion);
  chunk.holders++;
  chunk.used = true;
  session.inFlight++;
  try {
    await core.chunks.ready(chunk);
    // A hole told for a file that is being given up would be punched into a replica.
    core.session(asked.handle, holder);
    const runs = new Runs();
    if (isLayered(chunk)) layered(core, chunk, offset, end, asked, runs);
    else flat(chunk, offset, end, runs);
    return { runs: runs.flat };
  } finally {
    chunk.holders--;
    session.answered();
    core.chunks.settled(chunk);
  }
}

/** A version with nothing below it: what is not data is zeros. */
function flat({ file }: ChunkFile, offset: number, end: number, runs: Runs): void {
  let at = offset;
  if (file !== null) {
    forEachData(file, offset, end, (from, until) => {
      if (from > at) runs.add(from - at, State.ZERO);
      runs.add(until - from, State.DATA);
      at = until;
      return !runs.full;
    });
  }
  if (at < end && !runs.full) runs.add(end - at, State.ZERO);
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
      runs.add(next - from, state);
      from = next;
    }
    at = until;
  }
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
