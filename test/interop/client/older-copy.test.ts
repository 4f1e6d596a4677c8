import { cp, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { BlockOp } from '../../../src/block/device.js';
import type { Cluster, Volume } from '../../../src/client/index.js';
import { systemClock } from '../../../src/common/clock.js';
import { MiB } from '../../../src/common/units.js';
import { ClientRig, expectBytes, flush, states, submit, until, write } from './rig.js';

/** The directory of an OST is put back from a copy of some time ago: its machine has not restarted, so its boot id is the same. */

const FIRST = 1;
const SECOND = 2;
const BLOCK = 4096;
/** How long before a seal a write is marked for the epoch after it. */
const MARKED_MS = 2000;
const PLACES = [0, 5 * MiB, 12 * MiB];

let rig: ClientRig;
let cluster: Cluster;
beforeEach(async () => {
  rig = await ClientRig.start(2);
  cluster = await rig.connect('quick', { seals: { idleMs: 200, leastMs: 100 } });
});
afterEach(async () => {
  await cluster.close();
  await rig.end();
});

const dirOf = (index: number) => join(rig.dir, `ost${index}`);

/** While it is stopped. */
async function takeCopy(index: number): Promise<void> {
  await rig.stopOst(index);
  await cp(dirOf(index), `${dirOf(index)}.copy`, { recursive: true });
  await rig.startOst(index);
}

async function putBack(index: number): Promise<void> {
  await rig.stopOst(index);
  await startFromCopy(index);
}

async function startFromCopy(index: number): Promise<void> {
  await rm(dirOf(index), { recursive: true });
  await rename(`${dirOf(index)}.copy`, dirOf(index));
  await rig.startOst(index);
}

async function writeAll(volume: Volume, byte: number): Promise<void> {
  for (const offset of PLACES) await write(volume, offset, byte);
  await flush(volume);
  const { epoch } = volume.object;
  await until(() => volume.object.lastSeal >= epoch);
}

async function expectAll(volume: Volume, byte: number): Promise<void> {
  for (const offset of PLACES) await expectBytes(volume, offset, byte);
}

/** With the other OST stopped, so that it can come from nowhere else. */
async function expectOnlyOn(index: number, name: string, byte: number): Promise<void> {
  await rig.stopOst(1 - index);
  const volume = await cluster.openVolume(name, { mode: 'write' });
  await expectAll(volume, byte);
  await rig.startOst(1 - index);
  await until(() => states(volume).every((state) => state === 'in-sync'));
  await volume.close();
}

function memberOn(volume: Volume, index: number) {
  return volume.status().members.find(({ ostId }) => rig.indexOf(ostId) === index)!;
}

const whole = (volume: Volume) => until(() => states(volume).every((state) => state === 'in-sync'));

async function written(name: string, change: object = {}): Promise<Volume> {
  await rig.create(name, change);
  const volume = await cluster.openVolume(name, { mode: 'write' });
  await writeAll(volume, FIRST);
  return volume;
}

describe.each([0, 1])('replica %i is put back from an older copy', (index) => {
  test('while the volume is closed: it leaves, and gets all again', async () => {
    const before = await written('disk');
    await before.close();
    await takeCopy(index);
    const between = await cluster.openVolume('disk', { mode: 'write' });
    await writeAll(between, SECOND);
    await between.close();
    await putBack(index);

    const after = await cluster.openVolume('disk', { mode: 'write' });
    await expectAll(after, SECOND);
    await whole(after);
    expect(memberOn(after, index).copiedBytes).toBeGreaterThanOrEqual(PLACES.length * BLOCK);
    expect(await submit(after, BlockOp.FLUSH)).toBeNull();
    await after.close();
    await expectOnlyOn(index, 'disk', SECOND);
  });

  test('while the volume is written: it leaves, and gets all again', async () => {
    const volume = await written('disk');
    await takeCopy(index);
    await whole(volume);
    await writeAll(volume, SECOND);
    await write(volume, 8 * MiB, SECOND);
    const { copiedBytes } = memberOn(volume, index);
    await putBack(index);
    await expectAll(volume, SECOND);
    await until(() => memberOn(volume, index).copiedBytes > copiedBytes);
    await whole(volume);
    expect(await submit(volume, BlockOp.FLUSH)).toBeNull();
    await volume.close();
    await expectOnlyOn(index, 'disk', SECOND);
  });

  test('while it is stale: it gets all again, not only what was written since it left', async () => {
    const volume = await written('disk');
    await takeCopy(index);
    await whole(volume);
    await writeAll(volume, SECOND);
    await rig.stopOst(index);
    await write(volume, 8 * MiB, SECOND);
    expect(memberOn(volume, index).state).toBe('stale');
    await startFromCopy(index);
    await whole(volume);
    await volume.close();
    await expectOnlyOn(index, 'disk', SECOND);
  });
});

describe('the only replica is put back from an older copy', () => {
  const ONLY = { replicas: 1 };

  test('while the volume is closed: it opens with what there is, and tells the loss', async () => {
    const before = await written('disk', ONLY);
    const index = rig.indexOf(before.object.members[0]!.ostId);
    await before.close();
    await takeCopy(index);
    const between = await cluster.openVolume('disk', { mode: 'write' });
    await writeAll(between, SECOND);
    await between.close();
    await putBack(index);

    const after = await cluster.openVolume('disk', { mode: 'write' });
    expect(await submit(after, BlockOp.FLUSH)).toMatchObject({ code: 'LOSS' });
    await expectAll(after, FIRST);
    expect((await rig.object('disk')).lossWallMs).not.toBeNull();
    await writeAll(after, SECOND);
    await after.close();
    // It is told once, and is no older copy of itself any more.
    const again = await cluster.openVolume('disk', { mode: 'write' });
    await expectAll(again, SECOND);
    expect(await submit(again, BlockOp.FLUSH)).toBeNull();
    await again.close();
  });

  test('while the volume is written: its next flush tells the loss', async () => {
    const volume = await written('disk', ONLY);
    const index = rig.indexOf(volume.object.members[0]!.ostId);
    await takeCopy(index);
    await writeAll(volume, SECOND);
    // What it has kept of that seal is on record with the next one.
    await write(volume, 8 * MiB, SECOND);
    await putBack(index);
    expect(await submit(volume, BlockOp.FLUSH)).toMatchObject({ code: 'LOSS' });
    await expectAll(volume, FIRST);
    await volume.close();
  });
});

test('the last replica is put back from an older copy: who is stale gets all that differs now before it joins', async () => {
  const volume = await written('disk');
  await takeCopy(0);
  await whole(volume);
  await writeAll(volume, SECOND);
  // A seal on which nothing of that is marked as written lately, and so as newer than it.
  await systemClock.sleep(MARKED_MS + 500);
  await write(volume, 8 * MiB + BLOCK, SECOND);
  await flush(volume);
  const { epoch } = volume.object;
  await until(() => volume.object.lastSeal >= epoch);
  await rig.stopOst(1);
  await write(volume, 8 * MiB, SECOND);
  await flush(volume);
  await putBack(0);
  await until(() => volume.object.lossWallMs !== null);
  await rig.startOst(1);
  await whole(volume);
  // Both by turns: they have the same, which is what the copy had.
  for (let i = 0; i < 2; i++) await expectAll(volume, FIRST);
  await volume.close();
  await expectOnlyOn(1, 'disk', FIRST);
});
