import { asRawstorError } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import type { Params } from '../protocol/messages.js';
import type { ControlLink } from './control-link.js';

/** Ends a session at the MDS. Where that one is away, the lease lapses by itself. */
export async function giveBack(mds: ControlLink, log: Logger, session: Params<'mds.close'>): Promise<void> {
  await mds
    .call('mds.close', session, 3000)
    .catch((error) => log.warn({ reason: asRawstorError(error).message }, 'lease not given back'));
}
