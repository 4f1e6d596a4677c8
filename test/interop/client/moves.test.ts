import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Volume } from '../../../src/client/index.js';
import { MiB } from '../../../src/common/units.js';
import { ClientRig, until } from './rig.js';
import { VerifyingLoad } from './verifying-load.js';

/** Replacing one OST of an object by another, while it is in use and after (docs/consistency, I9, I13). */

let rig: ClientRig;
beforeEach(async () => {
  rig = await ClientRig.start(3);
});
afterEach(() => rig.end());

const SIZE = 16 * MiB;
const open = async (change: object = {}): Promise<Volume> => {
  await rig.create('v', { sizeBytes: SIZE, ...change });
  return rig.cluster.openVolume('v', { mode: 'write' });
};
const move = async (from: string | null, to: string | null = null) => {
  const { id } = await rig.object('v');
  return (await rig.cluster.mds.call('mds.move', { id, from, to, dryRun: false })).wanted;
};
const poolOf = async () => (await rig.object('v')).map.pool.map(({ ostId }) => ostId);
const usedOn = async (ostId: string) => {
  const { id } = await rig.object('v');
  const peer = await rig.watched.get(ostId)!.connect(ostId, [], 1000);
  return (await peer.call('ost.usage', { objectId: id })).allocatedBytes;
};

describe.each([
  ['on one set of OSTs', { stripeWidth: 1 }],
  ['over a pool', { stripeWidth: 2, chunkSizeBytes: MiB }],
])('a volume %s', (_, change) => {
  test('moves under a load without a wrong byte or an error, and the old copy is deleted', async () => {
    const volume = await open(change);
    const load = new VerifyingLoad(volume, SIZE);
    load.start(1);
    await until(() => load.operations > 2000);
    const before = await poolOf();
    const [from, stays] = before;
    expect(await usedOn(from!)).toBeGreaterThan(0);
    const wanted = await move(from!);
    expect(before).not.toContain(wanted.to);
    const atFirst = load.operations;
    await until(async () => (await poolOf()).includes(wanted.to));
    await until(() => volume.status().recovered);
    await until(() => load.operations > atFirst + 1000);
    await load.stop();
    await load.verifyAll();
    expect(load.errors).toEqual([]);
    expect(load.wrong).toEqual([]);
    expect((await poolOf()).sort()).toEqual([stays, wanted.to].sort());
    expect(
      volume
        .status()
        .members.map(({ ostId }) => ostId)
        .sort(),
    ).toEqual([stays, wanted.to].sort());
    await until(async () => (await usedOn(from!)) === 0);
    // The new one alone has all of it, also for the next who opens.
    await volume.close();
    const again = await rig.cluster.openVolume('v', { mode: 'write' });
    const other = rig.watched.get(stays!)!;
    other.away = true;
    other.cut();
    await load.verifyAll(again);
    expect([...load.errors, ...load.wrong]).toEqual([]);
    other.away = false;
    await again.close();
  });
});
