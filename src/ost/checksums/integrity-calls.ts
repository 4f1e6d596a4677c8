import { RawstorError } from '../../common/errors.js';
import { LIMITS } from '../../common/limits.js';
import type { MethodName, Params, Result } from '../../protocol/index.js';
import type { OstCore } from '../core.js';
import type { SessionHolder } from '../session.js';

/** The part of `ost.stat` about checksums. */
export function integrityFigures({ integrity, damage }: OstCore): Result<'ost.stat'>['integrity'] {
  if (integrity === null) return null;
  const { scrubs } = integrity;
  return {
    damagedBlocks: damage.count,
    foundTotal: damage.foundTotal,
    repairedTotal: damage.repairedTotal,
    scrubbedWallMs: scrubs.finishedWallMs,
  };
}

/** Answers the calls about damage and scrubs. @throws RawstorError NOT_SUPPORTED where checksums are off, BUSY */
export async function integrityCall(
  core: OstCore,
  method: MethodName,
  params: unknown,
  holder: SessionHolder,
): Promise<unknown> {
  const { integrity } = core;
  if (method === 'ost.damage') {
    const { objectId } = params as Params<'ost.damage'>;
    const { damage } = core;
    return { blocks: damage.list(objectId, LIMITS.damagedBlocks), ...damage.totals(objectId) };
  }
  if (integrity === null) {
    throw new RawstorError('NOT_SUPPORTED', 'this OST keeps no checksums', {
      where: `OST ${core.ostId}`,
      hint: 'start it with checksums = true in [serve-ost]',
    });
  }
  if (method === 'ost.scrub') {
    const { objectId, bytesPerSec } = params as Params<'ost.scrub'>;
    await integrity.scrubs.begin(objectId, bytesPerSec, holder);
    return {};
  }
  if (method === 'ost.scrubCancel') {
    await integrity.scrubs.cancel();
    return {};
  }
  return { job: integrity.scrubs.job === null ? null : { ...integrity.scrubs.job } };
}
