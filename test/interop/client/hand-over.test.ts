import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { BlockOp } from '../../../src/block/device.js';
import type { Cluster, MovableVolume, Volume } from '../../../src/client/index.js';
import { RawstorError } from '../../../src/common/errors.js';
import { seededRandom } from '../../../src/common/random.js';
import { MiB } from '../../../src/common/units.js';
import { mapAnonymous } from '../../../src/io/index.js';
import { ClientRig, expectBytes, flush, isSettled, readByte, submit, until, write } from './rig.js';

/** A volume that goes from process to process with its guest: docs/consistency, handing over. */

const MOVES = process.env.RAWSTOR_TEST_LONG === '1' ? 300 : 20;
let rig: ClientRig;
let clusters: Cluster[];
beforeEach(async () => {
  rig = await ClientRig.start(2);
  await rig.create('v');
  clusters = [];
});
afterEach(async () => {
  for (const cluster of clusters) await cluster.close();
  await rig.end();
});

async function open(holder: string, tellsStops: boolean, standby = true): Promise<MovableVolume> {
  const cluster = await rig.connect(holder);
  clusters.push(cluster);
  return await cluster.openMovable('v', { holder, standby, tellsStops });
}

/** As when somebody asks, and is gone before it is given anything. */
function givesToNobody(volume: MovableVolume): void {
  (volume as unknown as { state: { volume: Volume } }).state.volume.onHandOver!(true);
}

const closeAll = (volumes: MovableVolume[]) => Promise.all(volumes.map((volume) => volume.close()));
const holder = async () => (await rig.object('v')).lease?.holder;

describe('a front-end that tells when it stops', () => {
  test('keeps its volume while it runs, and gives it to who waits once it has stopped', async () => {
    const [a, b] = [await open('a', true), await open('b', true)];
    a.rest(false);
    await write(a, 0, 1);
    const second = write(b, 4096, 2);
    expect(await isSettled(second, 300)).toBe(false);
    await write(a, 0, 3);
    expect(await holder()).toBe('a');
    a.rest(true);
    await second;
    expect([await holder(), a.holds, b.holds]).toEqual(['b', false, true]);
    await expectBytes(b, 0, 3);
    // Closed in order: nothing has to be reconciled, and nobody waits.
    expect((await rig.object('v')).lossWallMs).toBeNull();
    await closeAll([a, b]);
  });

  test('whose guest begins elsewhere is there before its first request', async () => {
    const [a, b] = [await open('a', true), await open('b', true)];
    b.rest(false);
    await until(() => b.holds);
    await closeAll([a, b]);
  });

  test('is refused everything when its guest has gone on elsewhere, until another front-end comes', async () => {
    const [a, b] = [await open('a', true), await open('b', true)];
    a.rest(false);
    await write(a, 0, 1);
    a.rest(true);
    b.rest(false);
    await until(() => b.holds);
    await write(b, 0, 2);
    // Let go on by mistake, beside the one that was moved.
    a.rest(false, true);
    expect(await submit(a, BlockOp.WRITE, 0, 4096, 3)).toMatchObject({ code: 'FENCED' });
    // Nor when the other one is paused, or boots anew.
    b.rest(true);
    expect(await submit(a, BlockOp.FLUSH)).toMatchObject({ code: 'FENCED' });
    expect(await submit(a, BlockOp.READ, 0, 4096)).toMatchObject({ code: 'FENCED' });
    expect([a.holds, b.holds]).toEqual([false, true]);
    await expectBytes(b, 0, 2);
    a.rest(true);
    a.withdraw(() => true);
    a.rest(false);
    await expectBytes(a, 0, 2);
    await closeAll([a, b]);
  });

  test('goes on when nobody has had the volume that it gave', async () => {
    const a = await open('a', true);
    a.rest(false);
    await write(a, 0, 1);
    a.rest(true);
    givesToNobody(a);
    expect(a.holds).toBe(false);
    a.rest(false, true);
    await write(a, 0, 2);
    await expectBytes(a, 0, 2);
    await a.close();
  });

  test('goes on after an open of its own that came to nothing, and a repair that another did meanwhile', async () => {
    const a = await open('a', true);
    a.rest(false);
    await write(a, 0, 1);
    a.rest(true);
    givesToNobody(a);
    await until(async () => !(await holder()));
    const repair = await rig.cluster.openVolume('v', { mode: 'write', holder: 'repair', yields: true });
    await repair.close();
    let failures = 0;
    for (const ost of rig.watched.values()) {
      ost.beforeCall = async (method) => {
        if (method !== 'ost.attach' || failures > 0) return;
        failures++;
        throw new RawstorError('FENCED', 'of this test, once');
      };
    }
    a.rest(false, true);
    await write(a, 0, 2);
    expect(failures).toBe(1);
    await expectBytes(a, 0, 2);
    await a.close();
  });

  test('gets it back when the move has failed and its guest goes on', async () => {
    const [a, b] = [await open('a', true), await open('b', true)];
    a.rest(false);
    await write(a, 0, 1);
    a.rest(true);
    b.rest(false);
    await until(() => b.holds);
    await write(b, 0, 2);
    b.rest(true);
    a.rest(false);
    await expectBytes(a, 0, 2);
    expect(await holder()).toBe('a');
    await closeAll([a, b]);
  });
});

describe('a front-end that tells nothing', () => {
  test('reads here what is written elsewhere, without taking it', async () => {
    const [a, b] = [await open('a', false), await open('b', false)];
    a.rest(false);
    b.rest(false);
    for (let byte = 1; byte < 20; byte++) {
      await write(a, 5 * 4096, byte);
      await expectBytes(b, 5 * 4096, byte);
    }
    expect(await holder()).toBe('a');
    await closeAll([a, b]);
  });

  test('has stopped when it has flushed and nothing comes: not before', async () => {
    const [a, b] = [await open('a', false), await open('b', false)];
    a.rest(false);
    await write(a, 0, 1);
    const second = write(b, 4096, 2);
    expect(await isSettled(second, 400)).toBe(false);
    await flush(a);
    await second;
    await expectBytes(b, 0, 1);
    await closeAll([a, b]);
  });

  test('has it back when it was only taken for stopped, whoever has written meanwhile', async () => {
    const [a, b] = [await open('a', false), await open('b', false)];
    a.rest(false);
    await write(a, 0, 1);
    await flush(a);
    await write(b, 4096, 2);
    await flush(b);
    await write(a, 0, 3);
    await expectBytes(a, 4096, 2);
    await closeAll([a, b]);
  });

  test('without leave to stand by is kept its volume until it is gone', async () => {
    const [a, b] = [await open('a', false, false), await open('b', false)];
    a.rest(false);
    await flush(a);
    const second = write(b, 0, 2);
    expect(await isSettled(second, 300)).toBe(false);
    a.rest(true);
    await second;
    await closeAll([a, b]);
  });
});

test('who takes a place opens only what is as it was left: once it goes on there, nobody is fenced', async () => {
  const a = await open('a', true);
  a.rest(false);
  await write(a, 0, 1);
  const after = (await a.giveWay())!;
  // As a process does that was told to, and is too late.
  await write(a, 0, 2);
  const cluster = await rig.connect('late');
  clusters.push(cluster);
  const late = cluster.openMovable('v', { holder: 'a', standby: true, tellsStops: true, after });
  await expect(late).rejects.toMatchObject({ code: 'CONFLICT' });
  await write(a, 0, 3);
  const last = (await a.giveWay())!;
  const b = await cluster.openMovable('v', { holder: 'a', standby: true, tellsStops: true, after: last });
  await expectBytes(b, 0, 3);
  await closeAll([a, b]);
});

test('a volume that has grown is as large for who stands by, and who waits for it', async () => {
  const [a, b] = [await open('a', true), await open('b', true)];
  a.rest(false);
  await clusters[0]!.changeVolume('v', { kind: 'resize', sizeBytes: 32 * MiB }, { timeoutMs: 10_000 });
  await until(() => a.sizeBytes === 32 * MiB);
  const last = 32 * MiB - 4096;
  await write(a, last, 1);
  // Before it knows, a guest that comes from there may use all of it.
  expect(b.endBytes).toBeGreaterThanOrEqual(32 * MiB);
  await b.refresh();
  expect(b.sizeBytes).toBe(32 * MiB);
  a.rest(true);
  b.rest(false);
  await until(() => b.holds);
  expect([a.sizeBytes, b.sizeBytes, b.endBytes]).toEqual([32 * MiB, 32 * MiB, 32 * MiB]);
  await expectBytes(b, last, 1);
  expect(await submit(b, BlockOp.READ, 32 * MiB, 4096)).toMatchObject({ code: 'INVALID' });
  await closeAll([a, b]);
});

test('what waited for a front-end that is gone is never carried out, and nobody asks any more', async () => {
  const [a, b] = [await open('a', true), await open('b', true)];
  a.rest(false);
  await write(a, 0, 1);
  const waiting = submit(b, BlockOp.DISCARD, 0, 4096);
  expect(await isSettled(waiting, 100)).toBe(false);
  b.withdraw(() => true);
  expect(await waiting).toMatchObject({ code: 'UNAVAILABLE' });
  a.rest(true);
  // Longer than any pause of who asks.
  await new Promise((resolve) => setTimeout(resolve, 700));
  expect(b.holds).toBe(false);
  a.rest(false);
  await expectBytes(a, 0, 1);
  // The next front-end there has it all the same.
  a.rest(true);
  await expectBytes(b, 0, 1);
  await closeAll([a, b]);
}, 30_000);

test('a standby reads nothing of replicas whose writer has died: it takes the volume', async () => {
  const [a, b] = [await open('a', false), await open('b', false)];
  a.rest(false);
  b.rest(false);
  await write(a, 0, 1);
  await expectBytes(b, 0, 1);
  expect(b.holds).toBe(false);
  a.abandon();
  await until(async () => (await rig.object('v')).lease === null, 20_000);
  await expectBytes(b, 0, 1);
  expect(b.holds).toBe(true);
  await closeAll([a, b]);
}, 60_000);

test('who may not stand by itself is closed by who opened it, and does not wait', async () => {
  const [a, b] = [await open('a', false, false), await open('b', false)];
  let wanted = 0;
  a.onWanted = () => {
    wanted++;
    void a.close();
  };
  const second = write(b, 0, 2);
  await second;
  expect(wanted).toBeGreaterThan(0);
  expect(await submit(a, BlockOp.FLUSH)).toMatchObject({ code: 'UNAVAILABLE' });
  await closeAll([b]);
});

test('a place is not given while another process would get the volume on the way', async () => {
  const [a, b] = [await open('a', true), await open('b', true)];
  a.rest(false);
  await write(a, 0, 1);
  const second = write(b, 4096, 2);
  expect(await isSettled(second, 1000)).toBe(false);
  await expect(a.giveWay()).rejects.toMatchObject({ code: 'BUSY' });
  await expectBytes(a, 0, 1);
  a.rest(true);
  await second;
  await closeAll([a, b]);
});

test('who may not stand by is told that it is busy', async () => {
  const a = await open('a', true);
  await expect(open('b', true, false)).rejects.toMatchObject({ code: 'BUSY' });
  await a.close();
});

test('a close ends what waits for a holder that does not stop', async () => {
  const [a, b] = [await open('a', true), await open('b', true)];
  a.rest(false);
  await write(a, 0, 1);
  const waiting = submit(b, BlockOp.FLUSH);
  expect(await isSettled(waiting)).toBe(false);
  await b.close();
  expect(await waiting).toMatchObject({ code: 'UNAVAILABLE' });
  await expectBytes(a, 0, 1);
  await a.close();
});

test('a read on a standby is made again when the set has changed before the MDS is asked whether it has', async () => {
  const a = await open('a', false);
  a.rest(false);
  await write(a, 0, 1);
  const reading = await rig.connect('reader');
  clusters.push(reading);
  const call = reading.mds.call.bind(reading.mds);
  const { members } = await rig.object('v');
  const first = rig.indexOf(members[0]!.ostId);
  let looks = 0;
  reading.mds.call = async (method, params, timeoutMs) => {
    // The first is of the open, the second before the read, the third after it.
    if (method === 'mds.getObj' && ++looks === 3) {
      await rig.stopOst(first);
      await write(a, 0, 2);
    }
    return await call(method, params, timeoutMs);
  };
  const b = await reading.openMovable('v', { holder: 'b', standby: true, tellsStops: false });
  looks = 1;
  await expectBytes(b, 0, 2);
  expect(looks).toBeGreaterThan(3);
  await rig.startOst(first);
  await closeAll([a, b]);
});

test('a read on a standby is tried again when replicas change under it', async () => {
  const [a, b] = [await open('a', false), await open('b', false)];
  a.rest(false);
  await write(a, 0, 1);
  const { members } = await rig.object('v');
  const first = rig.indexOf(members[0]!.ostId);
  await rig.stopOst(first);
  await write(a, 0, 2);
  await expectBytes(b, 0, 2);
  await rig.startOst(first);
  await closeAll([a, b]);
});

test(`goes back and forth ${MOVES} times, and no write is lost on the way`, async () => {
  const [a, b] = [await open('a', true), await open('b', true)];
  const random = seededRandom(7);
  const holds = new Uint8Array(256);
  const memory = mapAnonymous(MiB);
  for (let move = 0; move < MOVES; move++) {
    const [here, there] = move % 2 === 0 ? [a, b] : [b, a];
    here.rest(false);
    for (let i = 0; i < 8; i++) {
      const block = random.below(holds.length);
      if (holds[block] !== 0) await expectBytes(here, block * 4096, holds[block]!);
      holds[block] = 1 + random.below(255);
      // Some are not flushed: a move takes them along all the same.
      expect(await submit(here, BlockOp.WRITE, block * 4096, 4096, holds[block], memory)).toBeNull();
    }
    here.rest(true);
    there.rest(false);
    there.rest(true);
  }
  for (const [block, byte] of holds.entries()) {
    if (byte !== 0) expect(await readByte(b, block * 4096)).toBe(byte);
  }
  await closeAll([a, b]);
}, 120_000);
