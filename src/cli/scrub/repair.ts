import { asRawstorError } from '../../common/errors.js';
import type { Context } from '../context.js';
import type { ScrubbedOst } from './scrubbed-ost.js';

/** How long a writer may take over a repair with nothing to see of it. */
const PATIENCE_MS = 5000;
const LOOK_MS = 100;

/**
 * Has the damaged blocks of an object repaired: its writer does that, which is told by the OSTs, and where there is none
 * this command opens the volume itself. What is left damaged then, no other replica has.
 */
export async function repairObject(
  context: Context,
  objectId: string,
  osts: readonly ScrubbedOst[],
  signal: AbortSignal,
): Promise<void> {
  const cluster = await context.cluster();
  const volume = await cluster
    .openVolume(objectId, {
      mode: 'write',
      ifUnwritten: true,
      immutable: true,
      content: false,
      timeoutMs: context.globals.timeout,
    })
    .catch((error) => {
      const failure = asRawstorError(error);
      if (failure.code !== 'BUSY')
        context.warn(`volume ${objectId} cannot be opened: ${failure.toUserText()}`);
      return null;
    });
  try {
    let left = await damagedOn(osts, objectId);
    let movedAtMs = context.clock.nowMs();
    while (left > 0 && context.clock.nowMs() - movedAtMs < PATIENCE_MS) {
      signal.throwIfAborted();
      // It has tried all of them.
      if (volume !== null && volume.status().damagedBlocks > 0) break;
      await context.clock.sleep(LOOK_MS);
      const now = await damagedOn(osts, objectId);
      if (now < left) movedAtMs = context.clock.nowMs();
      left = now;
    }
  } finally {
    await volume?.close();
  }
}

async function damagedOn(osts: readonly ScrubbedOst[], objectId: string): Promise<number> {
  const found = await Promise.all(osts.map((ost) => ost.damage(objectId)));
  return found.reduce((sum, blocks) => sum + blocks.length, 0);
}
