import { asRawstorError } from '../common/errors.js';
import type { ObjectInfo } from '../protocol/object-info.js';
import type { OstConnector } from '../protocol/ost-peer.js';
import { objectRecordSchema } from '../protocol/records.js';
import type { ControlLink } from './control-link.js';

const KEEP_TIMEOUT_MS = 3000;
/** OSTs told at a time. */
const TOLD_AT_ONCE = 16;

export interface Told {
  /** OSTs that could not be told; they get the record when the volume is next opened. */
  readonly untold: readonly string[];
  /** Why the last of them could not. */
  readonly failure: string;
}

/**
 * Has a volume's OSTs keep its record, so that it is there also when the MDS is lost the moment after (I13). The
 * client does it and not the MDS, which has no connections to OSTs and needs none otherwise.
 */
export async function tellOsts(
  mds: Pick<ControlLink, 'call'>,
  connector: OstConnector,
  volume: ObjectInfo,
  timeoutMs?: number,
): Promise<Told> {
  const object = objectRecordSchema.parse(volume);
  const known = new Map((await mds.call('mds.listOsts', {}, timeoutMs)).osts.map((ost) => [ost.ostId, ost]));
  const waiting = volume.map.pool.map(({ ostId }) => ostId);
  const untold: string[] = [];
  let failure = '';
  const tell = async () => {
    for (let ostId = waiting.shift(); ostId !== undefined; ostId = waiting.shift()) {
      try {
        const peer = await connector.connect(ostId, known.get(ostId)?.addresses ?? [], KEEP_TIMEOUT_MS);
        const kept = peer.call('ost.keepObject', { object }, KEEP_TIMEOUT_MS);
        const { lacksParent } = await kept.finally(() => peer.destroy());
        if (lacksParent !== true) continue;
        failure = `OST ${ostId} has an older copy of what the clone lies over`;
        untold.push(ostId);
      } catch (error) {
        failure = asRawstorError(error, `OST ${ostId}`).message;
        untold.push(ostId);
      }
    }
  };
  await Promise.all(Array.from({ length: TOLD_AT_ONCE }, tell));
  return { untold, failure };
}
