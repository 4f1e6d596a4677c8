import type { OstConnector } from '../protocol/ost-peer.js';
import type { ControlLink } from './control-link.js';
import type { CreatedVolume } from './create.js';
import { tellOsts } from './tell-osts.js';

export interface RenameOptions {
  readonly timeoutMs?: number | undefined;
  /** Id of the volume that has the name: it is removed in the same step. */
  readonly replaces?: string | undefined;
}

/** Gives a volume that nobody uses another name, on its OSTs as well. @throws RawstorError NOT_FOUND, EXISTS, INVALID, BUSY */
export async function renameVolume(
  mds: Pick<ControlLink, 'call'>,
  connector: OstConnector,
  ref: string,
  name: string,
  { timeoutMs, replaces }: RenameOptions = {},
): Promise<CreatedVolume> {
  const asked = replaces === undefined ? { ref, name } : { ref, name, replaces };
  const volume = await mds.call('mds.rename', asked, timeoutMs);
  const { untold } = await tellOsts(mds, connector, volume, timeoutMs);
  return { volume, untold };
}
