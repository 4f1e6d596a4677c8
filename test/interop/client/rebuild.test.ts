import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Volume } from '../../../src/client/index.js';
import { seededRandom } from '../../../src/common/random.js';
import { MiB } from '../../../src/common/units.js';
import { EPOCH_STEP, type RebuildPlan } from '../../../src/mds/index.js';
import { loseMds, NOW } from './lost-mds.js';
import { ClientRig, expectBytes, flush, readByte, states, until, write } from './rig.js';

/** The MDS is lost with all it had, and made anew from what real OSTs keep (I13). */

const BLOCK = 4096;

let rig: ClientRig;
beforeEach(async () => {
  rig = await ClientRig.start(3);
});
afterEach(() => rig.end());

const loseAndRebuild = (from = [0, 1, 2], restoreDoubtful = false, afterScan = async () => {}) =>
  loseMds(rig, { from, restoreDoubtful, afterScan });

/** Random writes all over; what every block must be. */
async function fill(volume: Volume, seed: number): Promise<Uint8Array> {
  const random = seededRandom(seed);
  const expected = new Uint8Array(volume.sizeBytes / BLOCK);
  for (let i = 0; i < 60; i++) {
    const block = random.below(expected.length);
    expected[block] = 1 + random.below(255);
    await write(volume, block * BLOCK, expected[block]!);
  }
  return expected;
}

async function compare(volume: Volume, expected: Uint8Array): Promise<void> {
  for (const [block, byte] of expected.entries()) {
    if ((await readByte(volume, block * BLOCK)) !== byte) {
      throw new Error(`block ${block} of ${volume.object.name} is not as it was written`);
    }
  }
}

const fates = (plan: RebuildPlan) => Object.fromEntries(plan.findings.map(({ name, fate }) => [name, fate]));

describe('after the loss of the MDS', () => {
  test('a volume is there that was made the moment before, and never used', async () => {
    const { volume: made } = await rig.cluster.createVolume({ ...rig.spec('fresh'), replicas: 3 });
    const plan = await loseAndRebuild();
    expect(fates(plan)).toEqual({ fresh: 'restored' });
    const { lease: _, clean: __, epoch, ...again } = await rig.object('fresh');
    expect(made).toMatchObject(again);
    expect(epoch).toBeGreaterThanOrEqual(EPOCH_STEP);
    await (await rig.cluster.openVolume('fresh', { mode: 'write', force: true })).close();
  });

  test('every volume comes back byte for byte', async () => {
    const kinds = {
      one: { replicas: 1 },
      two: {},
      three: { replicas: 3, minReplicas: 2 },
      wide: { stripeWidth: 'all', chunkSizeBytes: MiB },
    };
    const expected = new Map<string, Uint8Array>();
    for (const [seed, [name, change]] of Object.entries(kinds).entries()) {
      await rig.create(name, change);
      const volume = await rig.cluster.openVolume(name, { mode: 'write' });
      expected.set(name, await fill(volume, seed));
      // Some closed, some as after a kill of their gateway.
      if (seed % 2 === 0) await volume.close();
      else rig.forget(volume);
    }
    const before = await Promise.all([...expected.keys()].map((name) => rig.object(name)));
    const plan = await loseAndRebuild();
    expect(Object.values(fates(plan))).toEqual(['restored', 'restored', 'restored', 'restored']);
    for (const old of before) {
      const object = await rig.object(old.name);
      expect(object).toMatchObject({ id: old.id, map: old.map, lossWallMs: null, clean: false });
      expect(object.members.map(({ ostId, state }) => [ostId, state])).toEqual(
        old.members.map(({ ostId, state }) => [ostId, state]),
      );
      expect(object.epoch).toBeGreaterThan(old.epoch);
      const volume = await rig.cluster.openVolume(old.name, { mode: 'write', force: true });
      await compare(volume, expected.get(old.name)!);
      await volume.close();
    }
  });

  test('a replica that was dropped is not taken for complete, and gets what it missed', async () => {
    await rig.create('v', { replicas: 3 });
    const volume = await rig.cluster.openVolume('v', { mode: 'write' });
    for (let chunk = 0; chunk < 4; chunk++) await write(volume, chunk * 4 * MiB, 1);
    const [first, , last] = rig.ostsOf(volume);
    last!.away = true;
    last!.cut();
    await write(volume, 0, 2);
    await until(() => states(volume)[2] !== 'in-sync');
    rig.forget(volume);
    last!.away = false;
    const plan = await loseAndRebuild();
    expect(plan.objects[0]!.object.members.map(({ state }) => state)).toEqual([
      'in-sync',
      'in-sync',
      'stale',
    ]);
    const again = await rig.cluster.openVolume('v', { mode: 'write', force: true });
    await expectBytes(again, 0, 2);
    await until(() => states(again).every((state) => state === 'in-sync'));
    await again.close();
    // From the once stale one alone.
    first!.away = true;
    const alone = await rig.cluster.openVolume('v', { mode: 'write' });
    for (let chunk = 0; chunk < 4; chunk++) await expectBytes(alone, chunk * 4 * MiB, chunk === 0 ? 2 : 1);
    await alone.close();
  });

  test('a volume that is open goes on, through a change of its set, and closes', async () => {
    await rig.create('v');
    const volume = await rig.cluster.openVolume('v', { mode: 'write', holder: 'gateway' });
    await write(volume, 0, 1);
    await loseAndRebuild();
    await write(volume, 0, 2);
    const [, second] = rig.ostsOf(volume);
    second!.away = true;
    second!.cut();
    await write(volume, 4 * MiB, 3);
    expect(volume.object.epoch).toBeGreaterThan(EPOCH_STEP);
    expect((await rig.object('v')).members.map(({ state }) => state)).toEqual(['in-sync', 'stale']);
    second!.away = false;
    await until(() => states(volume).every((state) => state === 'in-sync'));
    await flush(volume);
    await volume.close();
    expect(await rig.object('v')).toMatchObject({ clean: true, lease: null });
    const again = await rig.cluster.openVolume('v', { mode: 'write' });
    await expectBytes(again, 0, 2);
    await expectBytes(again, 4 * MiB, 3);
    await again.close();
  });

  test('what a writer had stored after an OST was asked is not overlooked', async () => {
    await rig.create('v');
    const volume = await rig.cluster.openVolume('v', { mode: 'write' });
    await write(volume, 0, 1);
    const [first, second] = rig.ostsOf(volume);
    // The writer drops the first OST, which the scan takes for complete, goes on with the second alone, and dies.
    const plan = await loseAndRebuild([0, 1, 2], false, async () => {
      first!.away = true;
      first!.cut();
      await write(volume, 0, 2);
      rig.forget(volume);
      first!.away = false;
    });
    expect(plan.objects[0]!.object.members.map(({ state }) => state)).toEqual(['in-sync', 'in-sync']);
    // While the second is away, the first must not be believed.
    second!.away = true;
    const options = { mode: 'write', force: true, timeoutMs: 500 } as const;
    await expect(rig.cluster.openVolume('v', options)).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      where: expect.stringContaining(volume.object.members[1]!.ostId),
    });
    second!.away = false;
    const again = await rig.cluster.openVolume('v', options);
    await expectBytes(again, 0, 2);
    expect((await rig.object('v')).members.map(({ state }) => state)).toEqual(['stale', 'in-sync']);
    await until(() => states(again).every((state) => state === 'in-sync'));
    await again.close();
    expect(await rig.object('v')).toMatchObject({ clean: true, lossWallMs: null });
  });

  test('an OST that did not answer brings newer data back when it is there at the first open', async () => {
    await rig.create('v');
    const volume = await rig.cluster.openVolume('v', { mode: 'write' });
    await write(volume, 0, 1);
    const [first, second] = rig.ostsOf(volume);
    first!.away = true;
    first!.cut();
    await write(volume, 0, 2);
    rig.forget(volume);
    first!.away = false;
    const without = rig.indexOf(volume.object.members[1]!.ostId);
    const plan = await loseAndRebuild([0, 1, 2].filter((index) => index !== without));
    expect(fates(plan)).toEqual({ v: 'loss' });
    expect(second!.away).toBe(false);
    const again = await rig.cluster.openVolume('v', { mode: 'write', force: true });
    await expectBytes(again, 0, 2);
    await again.close();
    expect((await rig.object('v')).lossWallMs).toBe(NOW);
    await rig.cluster.mds.call('mds.acknowledgeLoss', { ref: 'v' });
    expect((await rig.object('v')).lossWallMs).toBeNull();
  });

  test('a loss that nobody acknowledged keeps its mark', async () => {
    await rig.create('v', { replicas: 1 });
    const volume = await rig.cluster.openVolume('v', { mode: 'write' });
    await write(volume, 0, 1);
    const [only] = rig.ostsOf(volume);
    only!.losses = 1;
    only!.cut();
    await until(async () => (await rig.object('v')).lossWallMs !== null);
    // Stored on the OST before anything is acknowledged again.
    await write(volume, 0, 2);
    const { lossWallMs } = await rig.object('v');
    rig.forget(volume);
    await loseAndRebuild();
    expect((await rig.object('v')).lossWallMs).toBe(lossWallMs);
  });

  test('a removed volume stays away, and the OST that missed the removal is told again', async () => {
    await rig.create('v');
    const volume = await rig.cluster.openVolume('v', { mode: 'write' });
    await write(volume, 0, 1);
    const ids = volume.object.members.map(({ ostId }) => ostId);
    const { id } = volume.object;
    await volume.close();
    const late = rig.indexOf(ids[1]!);
    await rig.stopOst(late);
    await rig.cluster.mds.call('mds.remove', { ref: 'v', force: false });
    const chunksOf = (index: number) => join(rig.dir, `ost${index}`, 'chunks', id.slice(-2), id);
    await until(() => !existsSync(chunksOf(rig.indexOf(ids[0]!))));
    await rig.stopMds();
    // Comes back when nobody can tell it.
    await rig.startOst(late);
    expect(readdirSync(chunksOf(late))).not.toEqual([]);
    await rig.startMds();
    await rig.stopMds();
    await rig.startMds();
    const plan = await loseAndRebuild();
    expect(plan.objects).toEqual([]);
    await until(() => !existsSync(chunksOf(late)));
  });
});
