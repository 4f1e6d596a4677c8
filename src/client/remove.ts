import type { ControlLink } from './control-link.js';
import { unlessWritten } from './unless-written.js';
import type { SignsEnvironment } from './writer-signs.js';

export interface RemoveOptions {
  /** Whoever uses it gets errors. */
  readonly force?: boolean;
  readonly timeoutMs?: number | undefined;
}

/** Removes a volume and its data. @throws RawstorError NOT_FOUND, BUSY while somebody may write to it and it is not forced, UNAVAILABLE */
export async function removeVolume(
  env: SignsEnvironment,
  mds: Pick<ControlLink, 'call'>,
  ref: string,
  { force = false, timeoutMs }: RemoveOptions = {},
): Promise<void> {
  await unlessWritten(env, mds, ref, (unseenSession) => {
    const unseen = unseenSession === undefined ? {} : { unseenSession };
    return mds.call('mds.remove', { ref, force, ...unseen }, timeoutMs);
  });
}
