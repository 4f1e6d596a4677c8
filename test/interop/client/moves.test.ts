import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Keeper, recoverVolume, type Volume } from '../../../src/client/index.js';
import { systemClock } from '../../../src/common/clock.js';
import { silentLogger } from '../../../src/common/log.js';
import { MiB } from '../../../src/common/units.js';
import { ClientRig, expectBytes, flush, states, until, write } from './rig.js';
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

describe('an OST whose disk is gone', () => {
  test('is replaced under a load: no error, no wrong byte, two complete copies again', async () => {
    const volume = await open();
    const load = new VerifyingLoad(volume, SIZE);
    load.start(7);
    await until(() => load.operations > 2000);
    const [gone, stays] = await poolOf();
    const lost = rig.watched.get(gone!)!;
    lost.away = true;
    lost.cut();
    await until(() => states(volume)[0] === 'stale');
    const wanted = await move(gone!);
    await until(() => volume.status().members.every(({ state }) => state === 'in-sync'));
    const atLast = load.operations;
    await until(() => load.operations > atLast + 500);
    await load.stop();
    await load.verifyAll();
    // By the new one alone.
    const other = rig.watched.get(stays!)!;
    other.away = true;
    other.cut();
    await load.verifyAll();
    expect([...load.errors, ...load.wrong]).toEqual([]);
    expect((await poolOf()).sort()).toEqual([stays, wanted.to].sort());
    for (const ost of [lost, other]) ost.away = false;
    await volume.close();
  });
});

/** What was written in the last two seconds before a seal counts as written after it. */
const cool = () => systemClock.sleep(2500);

describe('a move that is cut short', () => {
  /** Lets so many copies to an OST end, then none. */
  const stopAfter = (ostId: string, copies: number) => {
    const ost = rig.watched.get(ostId)!;
    let asked = 0;
    let begin = () => {};
    const stopped = new Promise<void>((resolve) => {
      begin = resolve;
    });
    let go = () => {};
    const released = new Promise<void>((resolve) => {
      go = resolve;
    });
    ost.beforeCall = async (method) => {
      if (method !== 'ost.copy' || asked++ < copies) return;
      begin();
      await released;
    };
    return { stopped, go };
  };

  /** A volume that an engine moves, held up when it has copied half. */
  async function halfMoved() {
    const volume = await open({ chunkSizeBytes: 16 * MiB });
    for (let at = 0; at < SIZE; at += MiB) await write(volume, at, 1 + at / MiB, MiB);
    await cool();
    await volume.close();
    const [from, stays] = await poolOf();
    const wanted = await move(from!);
    const engine = await rig.connect('engine');
    const { stopped, go } = stopAfter(wanted.to, 2);
    let copied = 0;
    const recovering = recoverVolume(engine, 'v', {
      clock: systemClock,
      onProgress: ({ members }) => {
        copied = members.find(({ ostId }) => ostId === wanted.to)?.copiedBytes ?? 0;
      },
    });
    await stopped;
    await until(() => copied === SIZE / 2);
    return { from, stays, wanted, engine, go, recovering };
  }

  test('by the end of its engine is finished by the next, and the old copy serves until then', async () => {
    const { from, stays, wanted, engine, go, recovering } = await halfMoved();
    expect(await poolOf()).toEqual([from, stays]);
    // Killed: whoever opens next gets it at once, and goes on with it.
    const next = await rig.cluster.openVolume('v', { mode: 'write', holder: 'guest' });
    const member = () => next.status().members.find(({ ostId }) => ostId === wanted.to);
    // Not before: what was held back would be copied under the engine's session still.
    await until(() => member()?.attached === true);
    go();
    expect(await recovering).toBe('taken');
    for (let at = 0; at < SIZE; at += MiB) await expectBytes(next, at, 1 + at / MiB);
    await until(() => next.status().recovered);
    expect((await poolOf()).sort()).toEqual([stays, wanted.to].sort());
    // Two of the four regions were there already.
    expect(member()!.copiedBytes).toBe(SIZE / 2);
    const other = rig.watched.get(stays!)!;
    other.away = true;
    other.cut();
    for (let at = 0; at < SIZE; at += MiB) await expectBytes(next, at, 1 + at / MiB);
    other.away = false;
    await next.close();
    await engine.close();
  });

  test('copies again what was written since, whoever wrote it', async () => {
    const { stays, wanted, engine, go, recovering } = await halfMoved();
    const target = rig.watched.get(wanted.to)!;
    target.away = true;
    target.cut();
    go();
    const guest = await rig.cluster.openVolume('v', { mode: 'write', holder: 'guest' });
    expect(await recovering).toBe('taken');
    await write(guest, MiB, 99, MiB);
    await guest.close();
    target.away = false;
    const next = await rig.cluster.openVolume('v', { mode: 'write', holder: 'guest' });
    await until(() => next.status().recovered);
    const { copiedBytes } = next.status().members.find(({ ostId }) => ostId === wanted.to)!;
    expect(copiedBytes).toBe((SIZE * 3) / 4);
    const other = rig.watched.get(stays!)!;
    other.away = true;
    other.cut();
    for (let at = 0; at < SIZE; at += MiB) await expectBytes(next, at, at === MiB ? 99 : 1 + at / MiB);
    other.away = false;
    await next.close();
    await engine.close();
  });

  test('by its cancellation leaves nothing behind, and may be begun again', async () => {
    const volume = await open({ chunkSizeBytes: 16 * MiB });
    for (let at = 0; at < SIZE; at += MiB) await write(volume, at, 1 + at / MiB, MiB);
    await flush(volume);
    const [from] = await poolOf();
    const wanted = await move(from!);
    const { stopped, go } = stopAfter(wanted.to, 2);
    await stopped;
    await rig.cluster.mds.call('mds.cancelMove', { id: (await rig.object('v')).id });
    await until(() => volume.status().move === null);
    go();
    await until(async () => (await rig.object('v')).left.length === 0 && (await usedOn(wanted.to)) === 0);
    let again: string | null = null;
    await until(async () => {
      again = await move(from!).then(
        ({ to }) => to,
        () => null,
      );
      return again !== null;
    });
    expect(again).toBe(wanted.to);
    await until(
      () => volume.status().recovered && volume.status().members.some(({ ostId }) => ostId === again),
    );
    for (let at = 0; at < SIZE; at += MiB) await expectBytes(volume, at, 1 + at / MiB);
    await volume.close();
  });
});

test('an OST that was away gets at most the regions that were written meanwhile', async () => {
  const size = 64 * MiB;
  const cluster = await rig.connect('sealing', { seals: { idleMs: 2500 } });
  await rig.create('v', { sizeBytes: size, chunkSizeBytes: 64 * MiB });
  const volume = await cluster.openVolume('v', { mode: 'write' });
  for (let at = 0; at < size; at += MiB) await write(volume, at, 1, MiB);
  await until(async () => (await rig.object('v')).lastSeal > 0);
  const away = rig.ostsOf(volume)[0]!;
  away.away = true;
  away.cut();
  const touched = new Set<number>();
  for (let i = 0; i < 40; i++) {
    const at = ((i * 7919) % 4000) * 4096;
    touched.add(Math.floor(at / (4 * MiB)));
    await write(volume, at, 2);
  }
  const before = volume.status().members[0]!.copiedBytes;
  away.away = false;
  await until(() => states(volume).every((state) => state === 'in-sync'));
  const copied = volume.status().members[0]!.copiedBytes - before;
  expect(copied).toBeGreaterThan(0);
  expect(copied).toBeLessThanOrEqual(2 * touched.size * 4 * MiB);
  await expectBytes(volume, 0, 2);
  await volume.close();
  await cluster.close();
});

test('a volume that nobody has open is looked after near its data, and gives way to who opens it', async () => {
  const volume = await open();
  await write(volume, 0, 1);
  await volume.close();
  const [from, stays] = await poolOf();
  const { to } = await move(from!);
  const cluster = await rig.connect('keeper');
  const keeper = new Keeper({ cluster, clock: systemClock, log: silentLogger, ostId: to, periodMs: 50 });
  await until(async () => (await poolOf()).includes(to));
  await until(async () => (await rig.object('v')).lease === null && (await rig.object('v')).clean);
  expect((await poolOf()).sort()).toEqual([stays, to].sort());
  await until(async () => (await usedOn(from!)) === 0);
  const again = await rig.cluster.openVolume('v', { mode: 'write', holder: 'guest' });
  await expectBytes(again, 0, 1);
  await again.close();
  await keeper.close();
  await cluster.close();
});
