import { RawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import type { MethodName, Params, Result } from '../protocol/index.js';
import { changedRuns } from './changed.js';
import type { OstCore } from './core.js';
import { withChunk } from './held-chunk.js';
import { BlockMover } from './layers/index.js';
import type { Session, SessionHolder } from './session.js';

/** Answers the methods about versions. @throws RawstorError */
export async function versionCall(
  core: OstCore,
  method: MethodName,
  params: unknown,
  holder: SessionHolder,
): Promise<unknown> {
  switch (method) {
    case 'ost.attachSnapshot': {
      const { objectId, version } = params as Params<'ost.attachSnapshot'>;
      const session = await core.attaching.attachSnapshot(objectId, version, holder);
      return { handle: session.handle, bootId: core.bootId };
    }
    case 'ost.unmerged': {
      const { objectId, versions, waitMs } = params as Params<'ost.unmerged'>;
      return { versions: await core.layers.merger.unmerged(core.object(objectId, null), versions, waitMs) };
    }
    case 'ost.regionVersions': {
      const { handle, chunk, region } = params as Params<'ost.regionVersions'>;
      return { epochs: regionVersions(core, core.session(handle, holder), chunk, region) };
    }
    case 'ost.flatten': {
      const asked = params as Params<'ost.flatten'>;
      return flatten(core, core.session(asked.handle, holder), asked);
    }
    case 'ost.changed':
      return changedRuns(core, params as Params<'ost.changed'>, holder);
    default:
      throw new RawstorError('NOT_SUPPORTED', `an OST does not answer ${method}`);
  }
}

/** Flat pairs of version and epoch of a region, where it is not 0. */
export function regionVersions(core: OstCore, { object }: Session, chunk: number, region: number): number[] {
  const { record, key } = object;
  const epochs: number[] = [];
  for (const version of [...record.snapshots.map((one) => one.version), record.headVersion]) {
    const epoch = core.records.versions.regionEpoch(key, chunk, version, region);
    if (epoch > 0) epochs.push(version, epoch);
  }
  return epochs;
}

async function flatten(
  core: OstCore,
  session: Session,
  { chunk: number, offset, length, tag }: Params<'ost.flatten'>,
): Promise<Result<'ost.flatten'>> {
  const { object, readOnly } = session;
  const { record } = object;
  if (readOnly) throw new RawstorError('READ_ONLY', 'a reading session changes nothing');
  if (
    offset + length > record.chunkSizeBytes ||
    number * record.chunkSizeBytes + offset >= record.sizeBytes
  ) {
    throw new RawstorError('INVALID', 'the range is not in the object', { where: record.id });
  }
  return withChunk(core, session, number, record.headVersion, async (into) => {
    const range = { offset, length: Math.min(length, LIMITS.rangeBytes) };
    // Also where it has all of that already: who is away and had it from the parent has to be brought it.
    await core.intents.raise(into, range.offset, range.length, tag);
    const ofParent = (owner: { object: unknown }) => owner.object !== object;
    return { copiedBytes: await new BlockMover(core).moveUp(into, session, range, tag, ofParent) };
  });
}
