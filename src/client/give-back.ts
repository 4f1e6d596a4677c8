import { asRawstorError } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import type { Params } from '../protocol/messages.js';
import type { ControlLink } from './control-link.js';
import { SetRecorder, withKept } from './set-recorder.js';
import type { VolumeState } from './volume-state.js';

/** Ends a session at the MDS. Where that one is away, the lease lapses by itself. @returns whether it is on record */
export async function giveBack(
  mds: ControlLink,
  log: Logger,
  session: Params<'mds.close'>,
): Promise<boolean> {
  try {
    await mds.call('mds.close', session, 3000);
    return true;
  } catch (error) {
    log.warn({ reason: asRawstorError(error).message }, 'lease not given back');
    return false;
  }
}

/**
 * @param clean sealed, and nothing was written since
 * @returns whether it is known to be on record as that
 */
export async function giveBackSession(
  mds: ControlLink,
  state: VolumeState,
  clean: boolean,
): Promise<boolean> {
  const { object, sessionEpoch, env } = state;
  // The last seal may not be kept everywhere yet: from here on it is, so that an OST that comes back from an older copy is told from this.
  const behind = state.inSyncMembers().some((member) => member.storedEpoch < object.epoch);
  if (clean && behind) await new SetRecorder(state, mds).storeSet();
  const members = withKept(state, object.members);
  const recorded = await giveBack(mds, env.log, { id: object.id, sessionEpoch, clean, members });
  return recorded && clean;
}
