import { asRawstorError, RawstorError } from '../common/errors.js';
import type { ControlLink } from './control-link.js';
import { lookUp } from './look-up.js';
import { awaitWriter, isLeft, type SignsEnvironment } from './writer-signs.js';

type Mds = Pick<ControlLink, 'call'>;

/**
 * Does what must not hit a guest that lives: the metadata server refuses it beside a session that was not closed, whether it hears of
 * its writer or not, until OSTs were asked.
 * @param attempt with the session of which nobody sees a writer, undefined at first: the usual case costs nothing
 * @throws RawstorError BUSY while somebody writes; UNAVAILABLE where nobody can say; what `attempt` throws
 */
export async function unlessWritten<T>(
  env: SignsEnvironment,
  mds: Mds,
  ref: string,
  attempt: (unseenSession: number | undefined) => Promise<T>,
): Promise<T> {
  try {
    return await attempt(undefined);
  } catch (error) {
    if (asRawstorError(error).code !== 'BUSY') throw error;
    const unseen = await unseenSessionOf(env, mds, ref, error as RawstorError);
    if (unseen === null) throw error;
    return await attempt(unseen);
  }
}

/**
 * The session that a volume was left with, when no OST has seen its writer for some seconds; null where the metadata server hears of
 * it, or nothing was left. @throws RawstorError BUSY: it is alive, and cut off
 */
async function unseenSessionOf(
  env: SignsEnvironment,
  mds: Mds,
  ref: string,
  { message }: RawstorError,
): Promise<number | null> {
  const object = await mds.call('mds.getObj', { ref });
  if (!isLeft(object)) return null;
  let now = object;
  const look = async () => {
    const { osts, ...found } = await lookUp(mds, object.id);
    now = found.object;
    return { object: now, osts: new Map(osts.map((ost) => [ost.ostId, ost])) };
  };
  if (!(await awaitWriter(env, look))) return object.sessionEpoch;
  if (!isLeft(now)) return null;
  throw new RawstorError('BUSY', `${message}, and lives, but does not reach the metadata server`, {
    where: object.name,
    hint: 'OSTs have its connections, up to two minutes after its machine has lost power: see to its network, or end it',
  });
}
