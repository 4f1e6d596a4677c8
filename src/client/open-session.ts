import { asRawstorError } from '../common/errors.js';
import type { Result } from '../protocol/messages.js';
import type { ControlLink } from './control-link.js';
import { checkWritable } from './immutable/guard.js';
import type { OpenVolumeOptions } from './open-options.js';

/** Times somebody else may be faster. */
const OPEN_TRIES = 5;
export type Opened = Result<'mds.open'>;

/** Names the session it comes after, so that this very call does not shut out a later one when it is late. */
export async function askForSession(
  mds: ControlLink,
  ref: string,
  options: OpenVolumeOptions,
  holder: string,
): Promise<Opened> {
  const { mode, force = false, yields = false, handOver = false, ifClosed = false } = options;
  for (let tries = 1; ; tries++) {
    const object = await mds.call('mds.getObj', { ref });
    checkWritable(object, options);
    try {
      const { after = object.sessionEpoch } = options;
      const asked = { ref, mode, holder, force, yields, handOver, ifClosed, after };
      return await mds.call('mds.open', asked);
    } catch (error) {
      const failure = asRawstorError(error);
      const final = tries === OPEN_TRIES || options.after !== undefined;
      if (failure.code !== 'CONFLICT' || final) throw failure;
    }
  }
}
