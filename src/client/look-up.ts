import type { ObjectInfo } from '../protocol/object-info.js';
import type { OstInfo } from '../protocol/records.js';
import type { ControlLink } from './control-link.js';

const CALL_TIMEOUT_MS = 5000;

/** The record of an object as it is now, and where the OSTs are. @throws RawstorError NOT_FOUND, UNAVAILABLE */
export async function lookUp(
  mds: Pick<ControlLink, 'call'>,
  ref: string,
): Promise<{ object: ObjectInfo; osts: readonly OstInfo[] }> {
  const [object, { osts }] = await Promise.all([
    mds.call('mds.getObj', { ref }, CALL_TIMEOUT_MS),
    mds.call('mds.listOsts', {}, CALL_TIMEOUT_MS),
  ]);
  return { object, osts };
}
