import { asRawstorError } from '../common/errors.js';
import type { Result } from '../protocol/messages.js';
import type { ControlLink } from './control-link.js';
import { checkWritable } from './immutable/guard.js';
import type { OpenVolumeOptions } from './open-options.js';
import { unlessWritten } from './unless-written.js';
import type { SignsEnvironment } from './writer-signs.js';

/** Times somebody else may be faster. */
const OPEN_TRIES = 5;
export type Opened = Result<'mds.open'>;

/**
 * Who opens a volume for its own good, or beside its guest, gets it from no writer that lives.
 * @throws RawstorError BUSY, NOT_FOUND, CONFLICT, UNAVAILABLE
 */
export async function askForSession(
  env: SignsEnvironment,
  mds: ControlLink,
  ref: string,
  options: OpenVolumeOptions,
  holder: string,
): Promise<Opened> {
  const { force = false, yields = false, ifUnwritten = false, unseenSession } = options;
  const ask = (unseen: number | undefined) => ofSession(mds, ref, options, holder, unseen);
  if (force || !(yields || ifUnwritten)) return ask(undefined);
  return unlessWritten(env, mds, ref, (unseen) => ask(unseen ?? unseenSession));
}

/** Names the session it comes after, so that this very call does not shut out a later one when it is late. */
async function ofSession(
  mds: ControlLink,
  ref: string,
  options: OpenVolumeOptions,
  holder: string,
  unseenSession: number | undefined,
): Promise<Opened> {
  const { mode, force = false, yields = false, handOver = false, ifUnwritten = false } = options;
  const { ifClosed = ifUnwritten } = options;
  const unseen = unseenSession === undefined ? {} : { unseenSession };
  for (let tries = 1; ; tries++) {
    const object = await mds.call('mds.getObj', { ref });
    checkWritable(object, options);
    try {
      const { after = object.sessionEpoch } = options;
      const asked = { ref, mode, holder, force, yields, handOver, ifClosed, after, ...unseen };
      return await mds.call('mds.open', asked);
    } catch (error) {
      const failure = asRawstorError(error);
      const final = tries === OPEN_TRIES || options.after !== undefined;
      if (failure.code !== 'CONFLICT' || final) throw failure;
    }
  }
}
