import { asRawstorError } from '../../common/errors.js';
import { LIMITS } from '../../common/limits.js';
import { differingVersions, legaciesOf } from '../../protocol/lineage.js';
import type { Member } from '../member.js';
import type { VolumeState } from '../volume-state.js';
import { type CopyMore, type CopyOutcome, orderCopy } from './copy.js';

const CALL_TIMEOUT_MS = 20_000;

/**
 * Copies a range of which every source has some block damaged, with the range locked. What any of them has is copied from that
 * one; what none has, block by block and version by version, is kept as known to be bad by every target. So nothing that can still be
 * read is given up, and nothing that cannot is taken for right (docs/consistency, Damage).
 * @param since of versions under the head those are copied that may differ since then; 0: all
 * @returns `source`, `target`: that one failed otherwise, and the range is to be copied again as a whole
 */
export async function copyAround(
  state: VolumeState,
  sources: readonly Member[],
  targets: readonly Member[],
  chunk: number,
  offset: number,
  length: number,
  since: number,
): Promise<Exclude<CopyOutcome, 'damaged'>> {
  const outcome = await fromAny(state, sources, targets, chunk, offset, length, { since });
  if (outcome !== 'damaged') return outcome;
  if (length <= LIMITS.blockBytes) return copyBlock(state, sources, targets, chunk, offset, length, since);
  const half = Math.ceil(length / 2 / LIMITS.blockBytes) * LIMITS.blockBytes;
  const first = await copyAround(state, sources, targets, chunk, offset, half, since);
  if (first !== 'copied') return first;
  return copyAround(state, sources, targets, chunk, offset + half, length - half, since);
}

/** A copy of all versions ends at the first one that is damaged: that says nothing of those over it, nor who else has it. */
async function copyBlock(
  state: VolumeState,
  sources: readonly Member[],
  targets: readonly Member[],
  chunk: number,
  offset: number,
  length: number,
  since: number,
): Promise<Exclude<CopyOutcome, 'damaged'>> {
  const members = [...sources, ...targets];
  // As told to all of them: while a new head is being told, nothing is in it yet.
  const head = Math.min(...members.map((member) => member.headVersion));
  const frozen = await differing(state, members, chunk, offset, since);
  if (frozen === null) return 'source';
  for (const version of [...frozen.filter((one) => one < head), head]) {
    let outcome = await fromAny(state, sources, targets, chunk, offset, length, { version });
    if (outcome === 'damaged') outcome = await keepDamaged(state, sources, targets, chunk, offset, version);
    if (outcome !== 'copied') return outcome;
  }
  return 'copied';
}

/** Versions under the head that some of them may have otherwise, oldest first; null when one cannot be asked. */
async function differing(
  state: VolumeState,
  members: readonly Member[],
  chunk: number,
  offset: number,
  since: number,
): Promise<number[] | null> {
  if (state.object.snapshots.length === 0) return [];
  const region = Math.floor(offset / LIMITS.regionSizeBytes);
  const told: number[][] = [];
  for (const { peer, handle } of new Set(members)) {
    try {
      if (peer === null) return null;
      told.push((await peer.call('ost.regionVersions', { handle, chunk, region }, CALL_TIMEOUT_MS)).epochs);
    } catch {
      return null;
    }
  }
  return differingVersions(state.object, told, since);
}

/** From the first of the sources that has nothing of it damaged: all targets get the same. */
async function fromAny(
  state: VolumeState,
  sources: readonly Member[],
  targets: readonly Member[],
  chunk: number,
  offset: number,
  length: number,
  more: CopyMore,
): Promise<CopyOutcome> {
  for (const source of sources) {
    const outcome = await copyToAll(state, source, targets, chunk, offset, length, more);
    if (outcome !== 'damaged') return outcome;
  }
  return 'damaged';
}

async function copyToAll(
  state: VolumeState,
  source: Member,
  targets: readonly Member[],
  chunk: number,
  offset: number,
  length: number,
  more: CopyMore,
): Promise<CopyOutcome> {
  const others = targets.filter((target) => target !== source);
  const outcomes = await Promise.all(
    others.map((target) => orderCopy(state, source, target, chunk, offset, length, more)),
  );
  return outcomes.find((outcome) => outcome !== 'copied') ?? 'copied';
}

/** Of the sources each knows it already. */
async function keepDamaged(
  state: VolumeState,
  sources: readonly Member[],
  targets: readonly Member[],
  chunk: number,
  offset: number,
  version: number,
): Promise<'copied' | 'source' | 'target'> {
  const sum = await knownSum(state, sources, chunk, offset, version);
  if (sum === undefined) return 'source';
  for (const target of targets) {
    if (sources.includes(target)) continue;
    const { peer } = target;
    if (peer === null) return 'target';
    try {
      const { damaged } = await peer.call(
        'ost.setDamaged',
        { handle: target.handle, chunk, chunkVersion: version, offset, tag: state.tag, sum },
        CALL_TIMEOUT_MS,
      );
      const facts = { volume: state.name, ostId: target.ostId, chunk, offset, version };
      if (damaged) state.env.log.error(facts, 'a block that no replica has is kept as damaged');
    } catch (error) {
      const failure = asRawstorError(error);
      // Unknown there, or no place for it: that does not end by trying again.
      if (failure.code === 'NOT_SUPPORTED' || failure.code === 'LIMIT') throw failure;
      target.end(target.inSync);
      return 'target';
    }
  }
  return 'copied';
}

/** The checksum that the block should have, null where no source knows it; undefined when one cannot be asked. */
async function knownSum(
  state: VolumeState,
  sources: readonly Member[],
  chunk: number,
  offset: number,
  version: number,
): Promise<number | null | undefined> {
  // What is to be merged into the version, and is not yet, counts as its own.
  const versions = [version, ...legaciesOf(state.object, version)];
  for (const { peer } of sources) {
    try {
      if (peer === null) return undefined;
      const { blocks } = await peer.call('ost.damage', { objectId: state.object.id }, CALL_TIMEOUT_MS);
      const block = blocks.find(
        (one) => one.chunk === chunk && one.offset === offset && versions.includes(one.chunkVersion),
      );
      if (block?.sum != null) return block.sum;
    } catch {
      return undefined;
    }
  }
  return null;
}
