import type { RawstorError } from '../common/errors.js';
import type { OpenVolumeOptions } from './open-options.js';
import type { Volume } from './volume.js';

/** What opens volumes: a cluster. */
export interface Opener {
  openVolume(ref: string, options: OpenVolumeOptions & { content?: boolean }): Promise<Volume>;
}

export interface GivingWayOptions {
  readonly holder?: string | undefined;
  /** How long an open waits for replicas that may not be given up. */
  readonly timeoutMs?: number | undefined;
}

/**
 * Works on a volume that nobody uses, for its own good: whoever opens it meanwhile gets it at once. Closed clean when
 * the work is done. `ended` says why the volume serves no more, null while it does.
 * @throws RawstorError of the open; what `work` throws, or rather what ended the volume under it
 */
export async function givingWay<T>(
  cluster: Opener,
  ref: string,
  { holder, timeoutMs }: GivingWayOptions,
  work: (volume: Volume, ended: () => RawstorError | null) => Promise<T>,
): Promise<T> {
  const volume = await cluster.openVolume(ref, {
    mode: 'write',
    yields: true,
    content: false,
    ...(holder === undefined ? {} : { holder }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
  });
  let fatal: RawstorError | null = null;
  volume.onFatal = (error) => {
    fatal = error;
  };
  try {
    return await work(volume, () => fatal);
  } catch (error) {
    throw fatal ?? error;
  } finally {
    await volume.close();
  }
}
