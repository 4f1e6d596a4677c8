import { RawstorError } from '../common/errors.js';
import { everyChunkOn } from '../common/whole-copies.js';
import type { Params } from '../protocol/messages.js';
import type { CreateSpec, ObjectInfo } from '../protocol/object-info.js';
import type { OstConnector } from '../protocol/ost-peer.js';
import type { ControlLink } from './control-link.js';
import { tellOsts } from './tell-osts.js';

export interface CreatedVolume {
  readonly volume: ObjectInfo;
  /** OSTs of it that could not be told; they get the record when it is first opened. */
  readonly untold: readonly string[];
}

/**
 * Makes a volume and has its OSTs keep its record. Who is cut off before that is through has told nobody that the
 * volume exists.
 * @throws RawstorError EXISTS, INVALID, UNSATISFIABLE; UNAVAILABLE when some chunk has no OST that could be told: then there is no volume
 */
export async function createVolume(
  mds: Pick<ControlLink, 'call'>,
  connector: OstConnector,
  spec: CreateSpec,
  timeoutMs?: number,
): Promise<CreatedVolume> {
  return told(mds, connector, await mds.call('mds.createObject', spec, timeoutMs), timeoutMs);
}

/** Makes a volume over a snapshot of another, likewise. @throws RawstorError NOT_FOUND, EXISTS, INVALID, LIMIT, UNAVAILABLE */
export async function cloneVolume(
  mds: Pick<ControlLink, 'call'>,
  connector: OstConnector,
  request: Params<'mds.clone'>,
  timeoutMs?: number,
): Promise<CreatedVolume> {
  return told(mds, connector, await mds.call('mds.clone', request, timeoutMs), timeoutMs);
}

async function told(
  mds: Pick<ControlLink, 'call'>,
  connector: OstConnector,
  volume: ObjectInfo,
  timeoutMs?: number,
): Promise<CreatedVolume> {
  const { untold, failure } = await tellOsts(mds, connector, volume, timeoutMs);
  // What was made has to come back when the MDS is lost now (I13): somebody complete knows of it, for every chunk.
  const complete = volume.members.filter(
    ({ ostId, state }) => state === 'in-sync' && !untold.includes(ostId),
  );
  if (everyChunkOn(volume, new Set(complete.map(({ ostId }) => ostId)))) return { volume, untold };
  await mds.call('mds.remove', { ref: volume.id, force: true }, timeoutMs);
  throw new RawstorError('UNAVAILABLE', `too few of the OSTs chosen for '${volume.name}' can be reached`, {
    where: `${untold.join(', ')}: ${failure}`,
    hint: 'the volume was not made; look at `rawstor ost ls`',
  });
}
