import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { BlockOp } from '../../../src/block/device.js';
import { Keeper, type Volume } from '../../../src/client/index.js';
import { systemClock } from '../../../src/common/clock.js';
import { silentLogger } from '../../../src/common/log.js';
import { MiB } from '../../../src/common/units.js';
import { ClientRig, expectBytes, readByte, submit, until, write } from '../client/rig.js';

/** Clones: on the OSTs of their parents, moved, resynced, flattened (docs/snapshots.md). */

let rig: ClientRig;
beforeEach(async () => {
  rig = await ClientRig.start(3);
});
afterEach(() => rig.end());

const SIZE = 16 * MiB;
const open = (name: string): Promise<Volume> => rig.cluster.openVolume(name, { mode: 'write' });
const clone = async (of: string, name: string) => {
  const { snapshots } = await rig.object(of);
  const { version } = snapshots.at(-1)!;
  return (await rig.cluster.cloneVolume({ ref: of, version, name })).volume;
};

/** `base` with ones in its first MiB and twos in a block of its last chunk, and a snapshot of that; closed. */
async function base(change: object = {}): Promise<void> {
  await rig.create('base', { sizeBytes: SIZE, ...change });
  const volume = await open('base');
  await write(volume, 0, 1, MiB);
  await write(volume, 12 * MiB, 2);
  await volume.change({ kind: 'snapshot', name: 'golden' });
  await write(volume, 0, 9);
  await volume.close();
}

async function expectGolden(volume: Volume): Promise<void> {
  await expectBytes(volume, 4096, 1);
  expect(await readByte(volume, 8192, MiB - 8192)).toBe(1);
  await expectBytes(volume, 12 * MiB, 2);
  await expectBytes(volume, 13 * MiB, 0);
}

const move = async (name: string, from: string) => {
  const { id } = await rig.object(name);
  return (await rig.cluster.mds.call('mds.move', { id, from, to: null, dryRun: false })).wanted;
};
const heldOn = async (ostId: string, name: string) => {
  const { id } = await rig.object(name);
  const peer = await rig.watched.get(ostId)!.connect(ostId, [], 1000);
  return (await peer.call('ost.usage', { objectId: id }).finally(() => peer.destroy())).allocatedBytes;
};

describe.each([
  ['on one set of OSTs', { stripeWidth: 1 }],
  ['over a pool', { stripeWidth: 3, chunkSizeBytes: MiB }],
])('a clone of a volume %s', (_, change) => {
  test('shows its parent, and each is written without the other noticing', async () => {
    await base(change);
    const made = await clone('base', 'c');
    expect(made).toMatchObject({ sizeBytes: SIZE, headVersion: 1, parent: { name: 'base@golden' } });
    const [parent, child] = [await open('base'), await open('c')];
    await expectBytes(child, 0, 1);
    await expectGolden(child);
    await write(child, 0, 5);
    await write(child, MiB + 512, 6, 512);
    expect(await submit(child, BlockOp.DISCARD, 12 * MiB, 4096)).toBeNull();
    await write(parent, 4096, 8);
    await expectBytes(child, 0, 5);
    await expectBytes(child, 4096, 1);
    expect(await readByte(child, MiB + 512, 512)).toBe(6);
    await expectBytes(child, 12 * MiB, 0);
    await expectBytes(parent, 0, 9);
    await expectBytes(parent, 12 * MiB, 2);
    await child.change({ kind: 'snapshot', name: 's' });
    const grandchild = await open((await clone('c', 'cc')).name);
    await expectBytes(grandchild, 0, 5);
    await expectBytes(grandchild, 4096, 1);
    for (const volume of [parent, child, grandchild]) await volume.close();
    const again = await open('c');
    await expectBytes(again, 0, 5);
    await expectBytes(again, 8192, 1);
    await again.close();
  });

  test('is flattened under writes, and then its parent may go', async () => {
    await base(change);
    await clone('base', 'c');
    const child = await open('c');
    await write(child, 0, 5);
    const removal = (name: string) => rig.cluster.mds.call('mds.remove', { ref: name, force: true });
    await expect(removal('base')).rejects.toMatchObject({ code: 'BUSY' });
    const remove = { kind: 'remove', version: 1 } as const;
    const removed = () => rig.cluster.changeVolume('base', remove, { timeoutMs: 5000 });
    await expect(removed()).rejects.toMatchObject({ code: 'BUSY' });
    const flattening = rig.cluster.changeVolume('c', { kind: 'flattened' }, { timeoutMs: 20_000 });
    for (let i = 0; i < 50; i++) await write(child, 2 * MiB + i * 4096, 7);
    expect(await flattening).toMatchObject({ parent: null });
    await removed();
    await removal('base');
    await expectBytes(child, 0, 5);
    await expectGolden(child);
    await child.close();
    const again = await open('c');
    await expectBytes(again, 0, 5);
    await expectGolden(again);
    expect(await readByte(again, 2 * MiB, 50 * 4096)).toBe(7);
    await again.close();
  }, 60_000);
});

describe('a clone whose parent moves', () => {
  test('keeps the copy that it needs until it is flattened', async () => {
    await base();
    await clone('base', 'c');
    const [from, stays] = (await rig.object('base')).map.pool.map(({ ostId }) => ostId);
    const parent = await open('base');
    const { to } = await move('base', from!);
    await until(async () => (await rig.object('base')).map.pool.some(({ ostId }) => ostId === to));
    await until(() => parent.status().recovered);
    const child = await open('c');
    await expectGolden(child);
    // Told to delete by nobody, over some rounds of registering.
    await systemClock.sleep(1000);
    expect(await heldOn(from!, 'base')).toBeGreaterThan(0);
    rig.watched.get(stays!)!.away = true;
    rig.watched.get(stays!)!.cut();
    await until(() => child.status().members.some((one) => one.state !== 'in-sync'));
    await expectGolden(child);
    rig.watched.get(stays!)!.away = false;
    await until(() => child.status().recovered && parent.status().recovered);
    await child.change({ kind: 'flattened' });
    await until(async () => (await heldOn(from!, 'base')) === 0);
    await expectGolden(child);
    await child.close();
    await parent.close();
  }, 60_000);
});

describe('a clone that moves', () => {
  test('has all it needs where it came to, and lies over nothing there', async () => {
    await base();
    await clone('base', 'c');
    const child = await open('c');
    await write(child, 0, 5);
    const [from, stays] = child.object.map.pool.map(({ ostId }) => ostId);
    const { to } = await move('c', from!);
    await until(() => child.object.map.pool.some(({ ostId }) => ostId === to));
    await until(() => child.status().recovered);
    expect(child.object.parent?.ostIds).toEqual([stays]);
    rig.watched.get(stays!)!.away = true;
    rig.watched.get(stays!)!.cut();
    await until(() => child.status().members.some((one) => one.state !== 'in-sync'));
    await expectBytes(child, 0, 5);
    await expectGolden(child);
    rig.watched.get(stays!)!.away = false;
    await until(() => child.status().recovered);
    await child.close();
  }, 60_000);
});

describe('a clone made while a replica of the parent is away', () => {
  test('gets there whole when it comes back', async () => {
    await rig.create('base', { sizeBytes: SIZE });
    const volume = await open('base');
    await write(volume, 0, 1, MiB);
    const [first, second] = rig.ostsOf(volume);
    second!.away = true;
    second!.cut();
    await write(volume, 12 * MiB, 2);
    await until(() => volume.status().members[1]!.state !== 'in-sync');
    await volume.change({ kind: 'snapshot', name: 'golden' });
    const made = await clone('base', 'c');
    expect(made.members.map(({ state }) => state)).toEqual(['in-sync', 'stale']);
    const child = await open('c');
    await expectGolden(child);
    second!.away = false;
    await until(() => volume.status().recovered && child.status().recovered);
    first!.away = true;
    first!.cut();
    await until(() => child.status().members[0]!.state !== 'in-sync');
    await expectGolden(child);
    first!.away = false;
    await until(() => volume.status().recovered && child.status().recovered);
    await child.close();
    await volume.close();
  }, 60_000);
});

test('what a removed snapshot left of a volume that nobody has open is merged and forgotten', async () => {
  await base();
  const { id } = await rig.object('base');
  await rig.cluster.changeVolume(id, { kind: 'remove', version: 1 }, { timeoutMs: 5000 });
  const { ostId } = (await rig.object('base')).members[0]!;
  const { cluster } = rig;
  const keeper = new Keeper({ cluster, clock: systemClock, log: silentLogger, ostId, periodMs: 100 });
  await until(async () => (await rig.object('base')).snapshots.length === 0);
  await keeper.close();
  const volume = await open('base');
  await expectBytes(volume, 0, 9);
  await expectGolden(volume);
  await volume.close();
}, 30_000);
