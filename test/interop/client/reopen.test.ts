import { afterEach, beforeEach, expect, test } from 'vitest';
import { BlockOp } from '../../../src/block/device.js';
import type { Volume } from '../../../src/client/index.js';
import { GiB, MiB } from '../../../src/common/units.js';
import type { MethodName } from '../../../src/protocol/index.js';
import { ClientRig, expectBytes, flush, isSettled, submit, until, write } from './rig.js';

/** What an open of a large sparse volume does, after a clean close and after none (docs/consistency, I7). */

const SIZE = 100 * GiB;
const REGION = 4 * MiB;
const REGIONS = 2000;
/** Spread over all of it. */
const regionAt = (index: number) => Math.floor((index * (SIZE / REGION)) / REGIONS) * REGION;

let rig: ClientRig;
let asked: MethodName[];
beforeEach(async () => {
  rig = await ClientRig.start(2);
  for (const ost of rig.watched.values()) {
    ost.beforeCall = async (method) => {
      asked.push(method);
    };
  }
  asked = [];
});
afterEach(() => rig.end());

async function filled(): Promise<Volume> {
  await rig.create('v', { sizeBytes: SIZE, chunkSizeBytes: GiB });
  const volume = await rig.cluster.openVolume('v', { mode: 'write' });
  for (let at = 0; at < REGIONS; at += 100) {
    const some = Array.from({ length: 100 }, (_, i) =>
      submit(volume, BlockOp.WRITE, regionAt(at + i), 4096, 7),
    );
    expect(await Promise.all(some)).toEqual(some.map(() => null));
  }
  return volume;
}

test('after a clean close nothing is listed, compared or copied', async () => {
  const volume = await filled();
  await volume.close();
  asked = [];
  const again = await rig.cluster.openVolume('v', { mode: 'write' });
  await expectBytes(again, regionAt(1234), 7);
  expect(asked).toEqual(['ost.attach', 'ost.attach']);
  expect(again.status().unreconciledRegions).toBe(0);
  await again.close();
}, 120_000);

test('a close waits for a seal whose answer the MDS owes', async () => {
  await rig.create('v');
  const volume = await rig.cluster.openVolume('v', { mode: 'write' });
  await write(volume, 0, 5);
  const { lastSeal } = await rig.object('v');
  // So long that its region is not marked for the next tag, which would have to be sealed as well.
  await new Promise((resolve) => setTimeout(resolve, 2200));
  await rig.stopMds();
  // As the timer does it; nothing is written since it has begun.
  const { membership } = volume as unknown as { membership: { seal(): Promise<void> } };
  const sealing = membership.seal();
  await isSettled(sealing);
  const closing = volume.close();
  await isSettled(closing);
  await rig.startMds();
  await closing;
  const after = await rig.object('v');
  expect(after.clean).toBe(true);
  expect(after.lastSeal).toBeGreaterThan(lastSeal);
}, 60_000);

test('after none it serves while it makes replicas alike, what is asked for first', async () => {
  const volume = await filled();
  await flush(volume);
  rig.forget(volume);
  asked = [];
  const again = await rig.cluster.openVolume('v', { mode: 'write' });
  // It does not wait for the copies: those that have begun are some of the first.
  expect(asked.filter((method) => method === 'ost.copy').length).toBeLessThan(100);
  await expectBytes(again, regionAt(REGIONS - 1), 7);
  expect(await submit(again, BlockOp.WRITE, regionAt(REGIONS / 2), 4096, 8)).toBeNull();
  expect(again.status().unreconciledRegions).toBeGreaterThan(REGIONS / 2);
  await until(() => again.status().unreconciledRegions === 0, 100_000);
  await again.close();
}, 240_000);
