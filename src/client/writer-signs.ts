import type { Clock } from '../common/clock.js';
import { asRawstorError, RawstorError } from '../common/errors.js';
import type { ObjectInfo } from '../protocol/object-info.js';
import type { OstConnector } from '../protocol/ost-peer.js';
import type { OstInfo } from '../protocol/records.js';

export interface SignsEnvironment {
  readonly clock: Clock;
  readonly connector: OstConnector;
}

const CALL_TIMEOUT_MS = 2000;
/** For so long no OST may have seen a writer that the metadata server does not hear of: it may be about to connect anew. */
const UNSEEN_MS = 3000;
/** The same where some OSTs cannot be asked. */
const UNSURE_MS = 30_000;
const LOOK_MS = 250;

/** Its last writer did not close it, and the metadata server does not hear of that one any more. */
export function isLeft({ clean, lease }: ObjectInfo): boolean {
  return !clean && lease === null;
}

/**
 * Whether a writer that the metadata server does not hear of is alive all the same: OSTs in sync know its connections. One that is cut
 * off from the metadata server alone goes on writing, and nobody takes the volume from it only to read, or for the volume's own good.
 * @param look the record as it is now
 * @returns false: nobody has seen it for some seconds. @throws RawstorError UNAVAILABLE where none of them can be asked; what `look` throws
 */
export async function awaitWriter(
  env: SignsEnvironment,
  look: () => Promise<{ object: ObjectInfo; osts: ReadonlyMap<string, OstInfo> }>,
): Promise<boolean> {
  const beganMs = env.clock.nowMs();
  for (;;) {
    const { object, osts } = await look();
    if (!isLeft(object)) return true;
    const inSync = object.members.filter(({ state }) => state === 'in-sync');
    const seen = await Promise.all(inSync.map(({ ostId }) => isSeen(env, object, osts.get(ostId))));
    if (seen.includes(true)) return true;
    const limitMs = seen.includes(null) ? UNSURE_MS : UNSEEN_MS;
    if (env.clock.nowMs() - beganMs > limitMs) {
      if (seen.includes(false)) return false;
      throw cannotAsk(object);
    }
    await env.clock.sleep(LOOK_MS);
  }
}

/** Null: it cannot be asked. */
async function isSeen(
  { connector }: SignsEnvironment,
  { id, sessionEpoch }: ObjectInfo,
  ost: OstInfo | undefined,
): Promise<boolean | null> {
  if (ost === undefined) return null;
  const peer = await connector.connect(ost.ostId, ost.addresses, CALL_TIMEOUT_MS).catch(() => null);
  if (peer === null) return null;
  try {
    const { writer } = await peer.call('ost.attachReader', { objectId: id, sessionEpoch }, CALL_TIMEOUT_MS);
    return writer;
  } catch (error) {
    return isRefusal(asRawstorError(error)) ? false : null;
  } finally {
    peer.destroy();
  }
}

/** It was never attached there. */
function isRefusal({ code }: RawstorError): boolean {
  return code === 'STALE_SESSION' || code === 'NOT_FOUND';
}

function cannotAsk({ name }: ObjectInfo): RawstorError {
  return new RawstorError('UNAVAILABLE', 'no OST can be asked whether its last writer is alive', {
    where: name,
    hint: 'it was not closed, and its writer may only be cut off from the metadata server: `rawstor ost ls`',
  });
}
