import { nextEpoch } from './in-sync-sets.js';
import type { Objects } from './objects.js';
import { checkClosed } from './open-checks.js';
import type { Serial } from './serial.js';
import type { StoredObject } from './stored-object.js';
import { validateName } from './validate.js';

/**
 * Gives an object another name. It is of a new epoch, so that OSTs that keep the older record are outvoted (I13). A
 * writer whose lease has lapsed may still live, and would take that epoch for somebody else's change of the set: first
 * it has to be closed.
 * @throws RawstorError NOT_FOUND, EXISTS, INVALID, BUSY
 */
export async function rename(
  objects: Objects,
  serial: Serial,
  ref: string,
  name: string,
): Promise<StoredObject> {
  validateName(name);
  const id = await objects.resolve(ref);
  return serial.run(id, () =>
    objects.rename(id, name, (before) => {
      checkClosed(before);
      return { ...before.object, name, epoch: nextEpoch(before.object) };
    }),
  );
}
