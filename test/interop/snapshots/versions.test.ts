import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { BlockOp } from '../../../src/block/device.js';
import type { Volume } from '../../../src/client/index.js';
import { newId } from '../../../src/common/ids.js';
import { MiB } from '../../../src/common/units.js';
import { mapAnonymous } from '../../../src/io/index.js';
import type { ObjectInfo, VersionChange } from '../../../src/protocol/index.js';
import { ClientRig, expectBytes, flush, readByte, submit, until, write } from '../client/rig.js';

/** Snapshots, rollback, removal and size of a volume over real OSTs, by its writer and by others (docs/snapshots.md). */

let rig: ClientRig;
beforeEach(async () => {
  rig = await ClientRig.start(2);
});
afterEach(() => rig.end());

const SIZE = 16 * MiB;
const open = async (change: object = {}): Promise<Volume> => {
  await rig.create('v', { sizeBytes: SIZE, ...change });
  return rig.cluster.openVolume('v', { mode: 'write' });
};
const reopen = () => rig.cluster.openVolume('v', { mode: 'write' });
const change = (wanted: VersionChange): Promise<ObjectInfo> =>
  rig.cluster.changeVolume('v', wanted, { timeoutMs: 10_000 });
const versionOf = async (name: string) =>
  (await rig.object('v')).snapshots.find((one) => one.name === name)!.version;
/** The byte that a range of a snapshot has. */
async function inSnapshot(name: string, offset: number, length = 4096): Promise<number> {
  const snapshot = await rig.cluster.openSnapshot('v', name);
  try {
    return await readByte(snapshot, offset, length);
  } finally {
    await snapshot.close();
  }
}

describe('a snapshot', () => {
  test('can be read, and cloned, although whoever took it was killed before it had told any OST', async () => {
    const volume = await open();
    await write(volume, 0, 1, MiB);
    await volume.close();
    // What a tool does, up to the answer of the MDS.
    const { mds } = rig.cluster;
    const opened = await mds.call('mds.open', {
      ref: 'v',
      mode: 'write',
      holder: 'tool',
      force: false,
      yields: true,
    });
    const { id, epoch, members, sessionEpoch } = opened.object;
    const wish: VersionChange = { kind: 'snapshot', name: 's1' };
    const expected = { expectedEpoch: epoch, requestId: newId(Date.now()), members };
    await mds.call('mds.changeVersions', { id, sessionEpoch, change: wish, ...expected });
    await mds.call('mds.close', { id, sessionEpoch, clean: true });
    const version = await versionOf('s1');
    await rig.cluster.cloneVolume({ ref: 'v', version, name: 'c' });
    const clone = await rig.cluster.openVolume('c', { mode: 'write' });
    await expectBytes(clone, 4096, 1);
    await clone.close();
    expect(await inSnapshot('s1', 0, MiB)).toBe(1);
  });

  test('has what was written before it and nothing of what came after', async () => {
    const volume = await open();
    await write(volume, 0, 1, MiB);
    await write(volume, 5 * MiB, 2);
    const object = await volume.change({ kind: 'snapshot', name: 's1' });
    expect(object).toMatchObject({ headVersion: 2, headOver: 1 });
    expect(object.snapshots).toMatchObject([{ version: 1, over: 0, name: 's1', sizeBytes: SIZE }]);
    expect(object.lastSeal).toBe(object.epoch - 1);
    await write(volume, 4096, 9);
    await write(volume, 9 * MiB, 8);
    await expectBytes(volume, 0, 1);
    await expectBytes(volume, 4096, 9);
    await expectBytes(volume, 8192, 1);
    expect(await inSnapshot('s1', 0, MiB)).toBe(1);
    expect(await inSnapshot('s1', 5 * MiB)).toBe(2);
    expect(await inSnapshot('s1', 9 * MiB)).toBe(0);
    await volume.close();
    const again = await reopen();
    await expectBytes(again, 4096, 9);
    await expectBytes(again, 8192, 1);
    await again.close();
  });

  test('is an exact cut under writes: all that was acknowledged before, nothing issued after', async () => {
    const blocks = (8 * SIZE) / 4096;
    const volume = await open({ sizeBytes: 8 * SIZE });
    const [lanes, acknowledged] = [8, new Set<number>()];
    let next = 0;
    let stop = false;
    const lane = async () => {
      const own = mapAnonymous(4096);
      while (!stop && next < blocks) {
        const at = next++;
        expect(await submit(volume, BlockOp.WRITE, at * 4096, 4096, 7, own)).toBeNull();
        acknowledged.add(at);
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    };
    const writing = Array.from({ length: lanes }, lane);
    const cuts: { name: string; before: number[]; after: number }[] = [];
    for (let i = 0; i < 5; i++) {
      await until(() => acknowledged.size > (i + 1) * 300);
      const before = [...acknowledged];
      await volume.change({ kind: 'snapshot', name: `s${i}` });
      cuts.push({ name: `s${i}`, before, after: next });
    }
    stop = true;
    await Promise.all(writing);
    expect(next).toBeLessThan(blocks);
    for (const { name, before, after } of cuts) {
      const snapshot = await rig.cluster.openSnapshot('v', name);
      for (const at of before) expect(await readByte(snapshot, at * 4096), `${name} ${at}`).toBe(7);
      for (let at = after; at < next; at++) {
        expect(await readByte(snapshot, at * 4096), `${name} ${at}`).toBe(0);
      }
      await snapshot.close();
    }
    await volume.close();
  }, 60_000);

  test('is taken by the holder when another asks, and by who asks when nobody holds the volume', async () => {
    const volume = await open();
    await write(volume, 0, 1);
    expect(await change({ kind: 'snapshot', name: 'held' })).toMatchObject({ headVersion: 2 });
    await write(volume, 0, 2);
    await volume.close();
    expect(await change({ kind: 'snapshot', name: 'closed' })).toMatchObject({ headVersion: 3 });
    expect(await rig.object('v')).toMatchObject({ lease: null, clean: true });
    expect(await inSnapshot('held', 0)).toBe(1);
    expect(await inSnapshot('closed', 0)).toBe(2);
    await expect(change({ kind: 'snapshot', name: 'held' })).rejects.toMatchObject({ code: 'EXISTS' });
  });

  test('zeroes and discards over it read as zeros, and it keeps what was there', async () => {
    const volume = await open();
    await write(volume, 0, 5, MiB);
    await volume.change({ kind: 'snapshot', name: 's' });
    expect(await submit(volume, BlockOp.DISCARD, 4096, 8192)).toBeNull();
    expect(await submit(volume, BlockOp.WRITE_ZEROES, 65536 + 512, 1024)).toBeNull();
    await write(volume, 131072 + 1024, 6, 512);
    await expectBytes(volume, 0, 5);
    expect(await readByte(volume, 4096, 8192)).toBe(0);
    expect(await readByte(volume, 65536, 512)).toBe(5);
    expect(await readByte(volume, 65536 + 512, 1024)).toBe(0);
    expect(await readByte(volume, 131072, 1024)).toBe(5);
    expect(await readByte(volume, 131072 + 1024, 512)).toBe(6);
    expect(await inSnapshot('s', 0, MiB)).toBe(5);
    await volume.close();
  });

  test('is readable from the replica that is left, and refuses writes', async () => {
    const volume = await open();
    await write(volume, 0, 3);
    await volume.change({ kind: 'snapshot', name: 's' });
    const snapshot = await rig.cluster.openSnapshot('v', 's');
    const [first, second] = rig.ostsOf(volume);
    await expectBytes(snapshot, 0, 3);
    first!.away = true;
    first!.cut();
    await expectBytes(snapshot, 0, 3);
    first!.away = false;
    second!.away = true;
    second!.cut();
    await expectBytes(snapshot, 0, 3);
    second!.away = false;
    expect(await submit(snapshot, BlockOp.WRITE, 0, 4096)).toMatchObject({ code: 'READ_ONLY' });
    expect(await snapshot.extents(0, SIZE)).toMatchObject([{ hole: false }, { hole: true }]);
    await snapshot.close();
    await volume.close();
  });
});

describe('a replica that was away', () => {
  test('while a snapshot was taken has it after its resync', async () => {
    const volume = await open();
    await write(volume, 0, 1, MiB);
    await volume.change({ kind: 'snapshot', name: 'early' });
    await write(volume, 0, 2);
    const [first, second] = rig.ostsOf(volume);
    second!.away = true;
    second!.cut();
    await write(volume, 8192, 3);
    await volume.change({ kind: 'snapshot', name: 's' });
    await write(volume, 8192, 4);
    second!.away = false;
    await until(() => volume.status().recovered);
    first!.away = true;
    first!.cut();
    expect(await inSnapshot('early', 0, MiB)).toBe(1);
    expect(await inSnapshot('s', 0)).toBe(2);
    expect(await inSnapshot('s', 8192)).toBe(3);
    await until(() => volume.status().members[0]!.state !== 'in-sync');
    await expectBytes(volume, 8192, 4);
    await expectBytes(volume, 4096, 1);
    first!.away = false;
    await until(() => volume.status().recovered);
    await volume.close();
  }, 60_000);
});

describe('rollback', () => {
  test('brings back what was, keeps what is, and goes both ways', async () => {
    const volume = await open();
    await write(volume, 0, 1);
    await volume.change({ kind: 'snapshot', name: 'monday' });
    await write(volume, 0, 2);
    await write(volume, MiB, 2);
    await volume.close();
    const back = await change({ kind: 'rollback', to: await versionOf('monday'), keepAs: 'before' });
    expect(back).toMatchObject({ headVersion: 3, headOver: 1 });
    const again = await reopen();
    await expectBytes(again, 0, 1);
    await expectBytes(again, MiB, 0);
    await write(again, 0, 3);
    expect(await inSnapshot('monday', 0)).toBe(1);
    expect(await inSnapshot('before', 0)).toBe(2);
    await again.change({ kind: 'rollback', to: await versionOf('before'), keepAs: null });
    await expectBytes(again, 0, 2);
    await expectBytes(again, MiB, 2);
    await again.close();
  });
});

describe('removing', () => {
  test('merges what is still needed, and the version is forgotten', async () => {
    const volume = await open();
    await write(volume, 0, 1, MiB);
    await volume.change({ kind: 'snapshot', name: 'a' });
    await write(volume, 0, 2);
    await volume.change({ kind: 'snapshot', name: 'b' });
    await write(volume, 4096, 3);
    const { object } = volume;
    expect(object.snapshots.map((one) => one.version)).toEqual([1, 2]);
    await volume.change({ kind: 'remove', version: 1 });
    await until(async () => {
      await volume.settleVersions(1000);
      return volume.object.snapshots.length === 1;
    });
    expect(volume.object.snapshots).toMatchObject([{ version: 2, over: 0, name: 'b' }]);
    expect(await inSnapshot('b', 0)).toBe(2);
    expect(await inSnapshot('b', 8192)).toBe(1);
    await volume.change({ kind: 'remove', version: 2 });
    await until(async () => {
      await volume.settleVersions(1000);
      return volume.object.snapshots.length === 0;
    });
    expect(volume.object).toMatchObject({ headVersion: 3, headOver: 0 });
    await expectBytes(volume, 0, 2);
    await expectBytes(volume, 4096, 3);
    await expectBytes(volume, 8192, 1);
    await volume.close();
    await rig.cluster.mds.call('mds.remove', { ref: 'v', force: false });
  }, 60_000);

  test('is refused for a protected one; a volume with snapshots is not removed', async () => {
    const volume = await open();
    await volume.change({ kind: 'snapshot', name: 'a' });
    await volume.change({ kind: 'protect', version: 1, protected: true });
    await expect(volume.change({ kind: 'remove', version: 1 })).rejects.toMatchObject({ code: 'BUSY' });
    await volume.change({ kind: 'rename', version: 1, name: 'golden' });
    expect(volume.object.snapshots).toMatchObject([{ name: 'golden', protected: true }]);
    await volume.close();
    const removal = rig.cluster.mds.call('mds.remove', { ref: 'v', force: true });
    await expect(removal).rejects.toMatchObject({ code: 'BUSY' });
  });
});

describe('the size', () => {
  test('grows and shrinks; what was cut off never comes back, and snapshots keep theirs', async () => {
    const volume = await open();
    const told: number[] = [];
    volume.onResized = (sizeBytes) => void told.push(sizeBytes);
    await write(volume, 0, 1);
    await write(volume, SIZE - 4096, 2);
    await volume.change({ kind: 'snapshot', name: 'big' });
    await change({ kind: 'resize', sizeBytes: 6 * MiB + 512 });
    expect(await submit(volume, BlockOp.WRITE, 7 * MiB, 4096)).toMatchObject({ code: 'INVALID' });
    await volume.change({ kind: 'snapshot', name: 'small' });
    await volume.change({ kind: 'resize', sizeBytes: 2 * SIZE });
    expect(told).toEqual([6 * MiB + 512, 2 * SIZE]);
    await expectBytes(volume, 0, 1);
    await expectBytes(volume, SIZE - 4096, 0);
    await write(volume, 2 * SIZE - 4096, 4);
    await expectBytes(volume, 2 * SIZE - 4096, 4);
    expect(await inSnapshot('big', SIZE - 4096)).toBe(2);
    expect(volume.object.snapshots.map((one) => one.sizeBytes)).toEqual([SIZE, 6 * MiB + 512]);
    await volume.change({ kind: 'rollback', to: 1, keepAs: null });
    expect(volume.sizeBytes).toBe(SIZE);
    await expectBytes(volume, SIZE - 4096, 2);
    await flush(volume);
    await volume.close();
  });
});
