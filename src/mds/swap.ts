import type { Change } from './in-sync-sets.js';
import type { Objects } from './objects.js';
import type { Serial } from './serial.js';
import type { StoredObject } from './stored-object.js';

/** Records what a writer's compare-and-swap makes of its object, alone with it. @throws RawstorError of `change` */
export function swap(
  { serial, objects }: { serial: Serial; objects: Objects },
  id: string,
  change: (stored: StoredObject) => Change,
): Promise<{ epoch: number }> {
  return serial.run(id, async () => {
    let epoch = 0;
    await objects.update(id, (stored) => {
      const result = change(stored);
      epoch = result.epoch;
      return result.stored;
    });
    return { epoch };
  });
}
