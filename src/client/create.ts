import { asRawstorError, RawstorError } from '../common/errors.js';
import type { CreateSpec, ObjectInfo } from '../protocol/object-info.js';
import type { OstConnector } from '../protocol/ost-peer.js';
import { objectRecordSchema } from '../protocol/records.js';
import type { ControlLink } from './control-link.js';

export interface CreatedVolume {
  readonly volume: ObjectInfo;
  /** OSTs of it that could not be told; they get the record when it is first opened. */
  readonly untold: readonly string[];
}

const KEEP_TIMEOUT_MS = 3000;
/** OSTs told at a time. */
const TOLD_AT_ONCE = 16;

/**
 * Makes a volume and has its OSTs keep its record, so that it is there also when the MDS is lost the moment
 * after (I13). The client does it and not the MDS, which has no connections to OSTs and needs none otherwise; one
 * that is cut off before it is through has told nobody that the volume exists.
 * @throws RawstorError EXISTS, INVALID, UNSATISFIABLE; UNAVAILABLE when no OST could be told: then there is no volume
 */
export async function createVolume(
  mds: Pick<ControlLink, 'call'>,
  connector: OstConnector,
  spec: CreateSpec,
  timeoutMs?: number,
): Promise<CreatedVolume> {
  const volume = await mds.call('mds.createObject', spec, timeoutMs);
  const object = objectRecordSchema.parse(volume);
  const known = new Map((await mds.call('mds.listOsts', {}, timeoutMs)).osts.map((ost) => [ost.ostId, ost]));
  const waiting = volume.map.pool.map(({ ostId }) => ostId);
  const total = waiting.length;
  const untold: string[] = [];
  let failure = '';
  const tell = async () => {
    for (let ostId = waiting.shift(); ostId !== undefined; ostId = waiting.shift()) {
      try {
        const peer = await connector.connect(ostId, known.get(ostId)?.addresses ?? [], KEEP_TIMEOUT_MS);
        await peer.call('ost.keepObject', { object }, KEEP_TIMEOUT_MS).finally(() => peer.destroy());
      } catch (error) {
        failure = asRawstorError(error, `OST ${ostId}`).message;
        untold.push(ostId);
      }
    }
  };
  await Promise.all(Array.from({ length: TOLD_AT_ONCE }, tell));
  if (untold.length < total) return { volume, untold };
  await mds.call('mds.remove', { ref: volume.id, force: true }, timeoutMs);
  throw new RawstorError('UNAVAILABLE', `none of the OSTs chosen for '${spec.name}' can be reached`, {
    where: `${untold.join(', ')}: ${failure}`,
    hint: 'the volume was not made; look at `rawstor ost ls`',
  });
}
