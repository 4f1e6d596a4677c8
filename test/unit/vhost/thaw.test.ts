import { afterEach, beforeEach, expect, test } from 'vitest';
import { BlockOp } from '../../../src/block/index.js';
import { BlkType } from '../../../src/vhost/constants.js';
import { Rig, requestParts } from '../../fixtures/vhost/rig.js';

/** A server that was asked for its device, and goes on with it, while a message of the front-end is at work. */

const DATA = 2 << 20;
let rig: Rig;
beforeEach(() => {
  rig = new Rig();
});
afterEach(() => rig.close());
const turn = () => new Promise((resolve) => setImmediate(resolve));

/** A message was read and waits for something. */
function serving(): boolean {
  return Reflect.get(Reflect.get(rig.server, 'session') as object, 'serving') as boolean;
}

test('rings that a message holds are not let go by a thaw', async () => {
  const driver = await rig.queue();
  const { front } = driver;
  // Answered: what came before is done.
  expect(await front.shareMemory()).toBe(0);
  rig.fault.setRules({ op: BlockOp.WRITE, hold: true });
  const data = [{ at: DATA, length: 4096 }];
  driver.add(requestParts(front, 0, BlkType.OUT, 0, data).parts);
  driver.kick.signal();
  while (rig.fault.heldCount < 1) await turn();
  const sharing = front.shareMemory();
  while (!serving()) await turn();
  const freezing = rig.server.freeze();
  freezing.catch(() => {});
  driver.add(requestParts(front, 1, BlkType.OUT, 8, data).parts);
  rig.server.thaw();
  await expect(freezing).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  // Memory would be unmapped under it.
  expect(rig.fault.heldCount).toBe(1);
  rig.fault.setRules();
  rig.fault.release();
  expect(await sharing).toBe(0);
  expect(await driver.used(2)).toHaveLength(2);
  // And nothing stays frozen.
  driver.add(requestParts(front, 2, BlkType.FLUSH, 0).parts);
  driver.kick.signal();
  expect(await driver.used(1)).toHaveLength(1);
});
