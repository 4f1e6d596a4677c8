import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type BlockDevice, BlockOp, type Mark } from '../../../src/block/device.js';
import type { Volume } from '../../../src/client/index.js';
import { KiB, MiB } from '../../../src/common/units.js';
import type { VersionChange } from '../../../src/protocol/index.js';
import { ClientRig, flush, states, submit, until, write } from '../client/rig.js';

/** What changed since a snapshot, asked of volumes and snapshots over real OSTs (docs/snapshots.md). */

const SIZE = 16 * MiB;
let rig: ClientRig;
let volume: Volume;
beforeEach(async () => {
  rig = await ClientRig.start(2);
  await rig.create('v', { sizeBytes: SIZE });
  volume = await rig.cluster.openVolume('v', { mode: 'write' });
});
afterEach(async () => {
  await volume.close();
  await rig.end();
});

const snapshot = (name: string) => volume.change({ kind: 'snapshot', name });
const change = (wanted: VersionChange) => volume.change(wanted);
const discard = async (offset: number, length: number) =>
  expect(await submit(volume, BlockOp.DISCARD, offset, length)).toBeNull();

function mark(device: BlockDevice, name: string): Mark {
  return device.marks!().find((one) => one.name === name)!;
}

/** Ranges that are told as changed, in KiB. */
async function changed(device: BlockDevice, since: Mark): Promise<[from: number, until: number][]> {
  const ranges: [number, number][] = [];
  for (let at = 0; at < device.sizeBytes; ) {
    for (const { lengthBytes, depth } of await device.layers!(since, at, device.sizeBytes - at)) {
      const [from, until] = [at / KiB, (at + lengthBytes) / KiB];
      if (depth > 0) {
        const last = ranges.at(-1);
        if (last?.[1] === from) last[1] = until;
        else ranges.push([from, until]);
      }
      at += lengthBytes;
    }
  }
  return ranges;
}

describe('what changed', () => {
  test('is exact to 4 KiB, of the head and of snapshots, zeros included', async () => {
    await write(volume, 0, 1, MiB);
    await write(volume, 5 * MiB, 2, MiB);
    await snapshot('s1');
    expect(await changed(volume, mark(volume, 's1'))).toEqual([]);
    await write(volume, 8 * KiB, 3);
    await write(volume, 9 * MiB + 512, 4, 512);
    await discard(5 * MiB, 64 * KiB);
    const first: [number, number][] = [
      [8, 12],
      [5120, 5184],
      [9216, 9220],
    ];
    expect(await changed(volume, mark(volume, 's1'))).toEqual(first);
    await snapshot('s2');
    await write(volume, 12 * KiB, 5);
    // What was not there stays so.
    await discard(13 * MiB, MiB);
    expect(await changed(volume, mark(volume, 's2'))).toEqual([[12, 16]]);
    expect(await changed(volume, mark(volume, 's1'))).toEqual([[8, 16], ...first.slice(1)]);
    const reader = await rig.cluster.openSnapshot('v', 's2');
    expect(reader.marks()).toMatchObject([{ name: 's1', version: 1 }]);
    expect(await changed(reader, mark(reader, 's1'))).toEqual(first);
    const depths = await reader.layers(null, 0, 16 * KiB);
    expect(depths).toEqual([
      { lengthBytes: 8 * KiB, depth: 2 },
      { lengthBytes: 4 * KiB, depth: 1 },
      { lengthBytes: 4 * KiB, depth: 2 },
    ]);
    await reader.close();
  });

  test('is there after a snapshot between was removed and merged, and after a restart of an OST', async () => {
    await write(volume, 0, 1, MiB);
    await snapshot('s1');
    await write(volume, 4 * KiB, 2);
    await discard(64 * KiB, 8 * KiB);
    const { headVersion } = await snapshot('s2');
    await write(volume, 3 * MiB, 3);
    await snapshot('s3');
    await change({ kind: 'remove', version: headVersion - 1 });
    const expected = [
      [4, 8],
      [64, 72],
      [3072, 3076],
    ];
    const reader = await rig.cluster.openSnapshot('v', 's3');
    expect(await changed(reader, mark(reader, 's1'))).toEqual(expected);
    await volume.settleVersions(10_000);
    await until(() => volume.object.snapshots.length === 2);
    expect(await changed(reader, mark(reader, 's1'))).toEqual(expected);
    await flush(volume);
    await rig.stopOst(0);
    await rig.startOst(0);
    await until(() => states(volume).every((state) => state === 'in-sync'));
    expect(await changed(volume, mark(volume, 's1'))).toEqual(expected);
    expect(await changed(reader, mark(reader, 's1'))).toEqual(expected);
    await reader.close();
  });

  test('is asked of replicas in sync only', async () => {
    await write(volume, 0, 1, MiB);
    await snapshot('s1');
    // The one that would be asked first.
    const [stale] = rig.ostsOf(volume);
    stale!.away = true;
    stale!.cut();
    await write(volume, 4 * MiB, 2);
    await discard(0, 4 * KiB);
    const unreadable = { copiedBytes: 0, zeroedBytes: 0, sourceStatus: 11 };
    stale!.copyAnswers.push(...Array(1000).fill(unreadable));
    let asked = 0;
    stale!.beforeCall = async (method) => {
      if (method === 'ost.changed') asked++;
    };
    stale!.away = false;
    await until(() => stale!.sources.length > 0);
    expect(states(volume)).not.toEqual(['in-sync', 'in-sync']);
    const expected = [
      [0, 4],
      [4096, 4100],
    ];
    expect(await changed(volume, mark(volume, 's1'))).toEqual(expected);
    await snapshot('s2');
    const reader = await rig.cluster.openSnapshot('v', 's2');
    for (let i = 0; i < 4; i++) expect(await changed(reader, mark(reader, 's1'))).toEqual(expected);
    expect(asked).toBe(0);
    stale!.copyAnswers.length = 0;
    await until(() => states(volume).every((state) => state === 'in-sync'));
    // A resync brings every version as it is.
    expect(await changed(volume, mark(volume, 's1'))).toEqual(expected);
    expect(asked).toBeGreaterThan(0);
    await reader.close();
  });

  test('counts what is being written', async () => {
    await snapshot('s1');
    const osts = rig.ostsOf(volume);
    for (const ost of osts) ost.holds = () => true;
    const writing = submit(volume, BlockOp.WRITE, 7 * MiB, 4096, 9);
    await until(() => osts.every((ost) => ost.held > 0));
    expect(await changed(volume, mark(volume, 's1'))).toEqual([[7168, 7172]]);
    for (const ost of osts) ost.release();
    expect(await writing).toBeNull();
  });

  test('with a size that shrinks and grows again', async () => {
    await write(volume, 15 * MiB, 1, MiB);
    await snapshot('s1');
    await change({ kind: 'resize', sizeBytes: 15 * MiB + 512 * KiB });
    await change({ kind: 'resize', sizeBytes: SIZE });
    expect(await changed(volume, mark(volume, 's1'))).toEqual([[15 * 1024 + 512, 16 * 1024]]);
  });
});

describe('refused is', () => {
  test('a snapshot on another line, or a younger one', async () => {
    await write(volume, 0, 1);
    await snapshot('s1');
    await write(volume, 0, 2);
    await snapshot('s2');
    const s2 = mark(volume, 's2');
    await change({ kind: 'rollback', to: 1, keepAs: 'kept' });
    expect(volume.marks().map((one) => one.name)).toEqual(['s1']);
    await expect(volume.layers(s2, 0, MiB)).rejects.toMatchObject({ code: 'INVALID' });
    const reader = await rig.cluster.openSnapshot('v', 's1');
    await expect(reader.layers(s2, 0, MiB)).rejects.toMatchObject({ code: 'INVALID' });
    await expect(reader.layers({ name: 's1', version: 1 }, 0, MiB)).rejects.toMatchObject({
      code: 'INVALID',
    });
    await reader.close();
  });

  test('a snapshot that is gone, also for who read before', async () => {
    await write(volume, 0, 1);
    await snapshot('s1');
    await write(volume, 0, 2);
    await snapshot('s2');
    const reader = await rig.cluster.openSnapshot('v', 's2');
    const s1 = mark(volume, 's1');
    expect(await changed(reader, s1)).toEqual([[0, 4]]);
    await change({ kind: 'remove', version: s1.version });
    await expect(volume.layers(s1, 0, MiB)).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await expect(reader.layers(s1, 0, MiB)).rejects.toMatchObject({ code: 'NOT_FOUND' });
    // One of the same name is another one.
    await snapshot('s1');
    await expect(volume.layers(s1, 0, MiB)).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await reader.close();
  });
});
