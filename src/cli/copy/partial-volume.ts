import type { Cluster } from '../../client/index.js';
import { RawstorError } from '../../common/errors.js';
import { LIMITS } from '../../common/limits.js';
import { formatSizeBytes } from '../../common/units.js';
import type { ObjectInfo } from '../../protocol/index.js';
import type { Context } from '../context.js';
import { PARTIAL } from '../new-name.js';
import { findVolume, noteUntold } from '../volumes.js';

export interface NewVolume {
  readonly name: string;
  /** Goes on with what an earlier one has left, and leaves what it has made when it fails. */
  readonly resume: boolean;
  readonly sizeBytes: number;
  /** Makes one of that name. */
  make(name: string): Promise<ObjectInfo>;
  /** Whether what is there is what the options ask for. @throws RawstorError */
  checkLeft(volume: ObjectInfo): void;
  /** `isEmpty`: it reads as zeros everywhere. */
  fill(volume: ObjectInfo, isEmpty: boolean): Promise<void>;
}

/** Makes a volume under another name until it is whole: one of its own name never is half made, however this ends. */
export async function makeWhole(context: Context, cluster: Cluster, wanted: NewVolume): Promise<ObjectInfo> {
  const { name, resume } = wanted;
  const { timeout } = context.globals;
  const partial = `${name.slice(0, LIMITS.nameBytes - PARTIAL.length)}${PARTIAL}`;
  let left = await findVolume(cluster, partial, timeout);
  if (left !== null && !resume) {
    await removeLeftOver(context, cluster, left, name);
    left = null;
  }
  if (left !== null) checkLeftOver(left, wanted);
  const half = left ?? (await wanted.make(partial));
  try {
    await wanted.fill(half, left === null);
    const renamed = await cluster.renameVolume(half.id, name, { timeoutMs: timeout });
    noteUntold(context, renamed);
    return renamed.volume;
  } catch (error) {
    if (resume) context.note(`${context.program}: what is there is kept as ${partial}: go on with --resume`);
    else await removeHalf(context, cluster, half);
    throw error;
  }
}

function checkLeftOver(left: ObjectInfo, { sizeBytes, checkLeft }: NewVolume): void {
  if (left.sizeBytes === sizeBytes) return checkLeft(left);
  throw new RawstorError('EXISTS', `what an earlier import has left is ${formatSizeBytes(left.sizeBytes)}`, {
    where: left.name,
    hint: `leave --resume out to begin anew with ${formatSizeBytes(sizeBytes)}`,
  });
}

/** What an import that was killed has left. @throws RawstorError BUSY while one is under way */
async function removeLeftOver(
  context: Context,
  cluster: Cluster,
  left: ObjectInfo,
  name: string,
): Promise<void> {
  try {
    await cluster.removeVolume(left.id, { timeoutMs: context.globals.timeout });
  } catch (error) {
    if (!(error instanceof RawstorError) || error.code !== 'BUSY') throw error;
    throw new RawstorError('BUSY', `another import into '${name}' is under way, or has just been killed`, {
      where: left.name,
      hint: 'wait for it, or try again in half a minute',
      cause: error,
    });
  }
  context.note(`${context.program}: removed what an earlier import has left of ${name}`);
}

async function removeHalf(context: Context, cluster: Cluster, volume: ObjectInfo): Promise<void> {
  try {
    await cluster.mds.call('mds.remove', { ref: volume.id, force: true }, context.globals.timeout);
    context.note(`${context.program}: removed the half-made volume ${volume.name}`);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    context.warn(
      `the half-made volume ${volume.name} is still there (${why}): remove it with rawstor-volume rm`,
    );
  }
}
