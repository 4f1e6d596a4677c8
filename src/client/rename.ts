import type { ControlLink } from './control-link.js';
import type { CreatedVolume } from './create.js';
import { tellOsts } from './tell-osts.js';
import { unlessWritten } from './unless-written.js';
import type { SignsEnvironment } from './writer-signs.js';

export interface RenameOptions {
  readonly timeoutMs?: number | undefined;
  /** Id of the volume that has the name: it is removed in the same step. */
  readonly replaces?: string | undefined;
}

/** Gives a volume that nobody uses another name, on its OSTs as well. @throws RawstorError NOT_FOUND, EXISTS, INVALID, BUSY */
export async function renameVolume(
  env: SignsEnvironment,
  mds: Pick<ControlLink, 'call'>,
  ref: string,
  name: string,
  { timeoutMs, replaces }: RenameOptions = {},
): Promise<CreatedVolume> {
  const volume =
    replaces === undefined
      ? await mds.call('mds.rename', { ref, name }, timeoutMs)
      : await unlessWritten(env, mds, replaces, (unseenSession) => {
          const unseen = unseenSession === undefined ? {} : { unseenSession };
          return mds.call('mds.rename', { ref, name, replaces, ...unseen }, timeoutMs);
        });
  const { untold } = await tellOsts(mds, env.connector, volume, timeoutMs);
  return { volume, untold };
}
