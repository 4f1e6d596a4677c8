import { asRawstorError } from '../../common/errors.js';
import { LIMITS } from '../../common/limits.js';
import type { Member } from '../member.js';
import type { VolumeState } from '../volume-state.js';
import { type CopyMore, type CopyOutcome, orderCopy } from './copy.js';

const CALL_TIMEOUT_MS = 20_000;

/**
 * Copies a range of which every source has some block damaged, with the range locked. What any of them has is copied from that
 * one; what none has, block by block, is kept as known to be bad by every target. So nothing that can still be read is given
 * up, and nothing that cannot is taken for right (docs/consistency, Damage).
 * @returns `source`, `target`: that one failed otherwise, and the range is to be copied again as a whole
 */
export async function copyAround(
  state: VolumeState,
  sources: readonly Member[],
  targets: readonly Member[],
  chunk: number,
  offset: number,
  length: number,
  more: Pick<CopyMore, 'since'> = {},
): Promise<Exclude<CopyOutcome, 'damaged'>> {
  for (const source of sources) {
    const outcome = await copyToAll(state, source, targets, chunk, offset, length, more);
    if (outcome !== 'damaged') return outcome;
  }
  if (length <= LIMITS.blockBytes) return keepDamaged(state, sources, targets, chunk, offset);
  const half = Math.ceil(length / 2 / LIMITS.blockBytes) * LIMITS.blockBytes;
  const first = await copyAround(state, sources, targets, chunk, offset, half, more);
  if (first !== 'copied') return first;
  return copyAround(state, sources, targets, chunk, offset + half, length - half, more);
}

async function copyToAll(
  state: VolumeState,
  source: Member,
  targets: readonly Member[],
  chunk: number,
  offset: number,
  length: number,
  more: Pick<CopyMore, 'since'>,
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
): Promise<'copied' | 'source' | 'target'> {
  const sum = await knownSum(state, sources, chunk, offset);
  if (sum === undefined) return 'source';
  for (const target of targets) {
    if (sources.includes(target)) continue;
    const { peer } = target;
    if (peer === null) return 'target';
    try {
      const { damaged } = await peer.call(
        'ost.setDamaged',
        { handle: target.handle, chunk, chunkVersion: state.writeVersion, offset, tag: state.tag, sum },
        CALL_TIMEOUT_MS,
      );
      const facts = { volume: state.name, ostId: target.ostId, chunk, offset };
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
): Promise<number | null | undefined> {
  for (const { peer } of sources) {
    try {
      if (peer === null) return undefined;
      const { blocks } = await peer.call('ost.damage', { objectId: state.object.id }, CALL_TIMEOUT_MS);
      const block = blocks.find((one) => one.chunk === chunk && one.offset === offset);
      if (block?.sum != null) return block.sum;
    } catch {
      return undefined;
    }
  }
  return null;
}
