import type { OstConnector } from '../protocol/ost-peer.js';
import type { ControlLink } from './control-link.js';
import type { CreatedVolume } from './create.js';
import { tellOsts } from './tell-osts.js';

/** Gives a volume that nobody uses another name, on its OSTs as well. @throws RawstorError NOT_FOUND, EXISTS, INVALID, BUSY */
export async function renameVolume(
  mds: Pick<ControlLink, 'call'>,
  connector: OstConnector,
  ref: string,
  name: string,
  timeoutMs?: number,
): Promise<CreatedVolume> {
  const volume = await mds.call('mds.rename', { ref, name }, timeoutMs);
  const { untold } = await tellOsts(mds, connector, volume, timeoutMs);
  return { volume, untold };
}
