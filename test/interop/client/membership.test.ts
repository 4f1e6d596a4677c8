import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { BlockOp } from '../../../src/block/device.js';
import type { Cluster, Volume } from '../../../src/client/index.js';
import { ERROR_CODES } from '../../../src/common/errors.js';
import { MiB } from '../../../src/common/units.js';
import { Opcode } from '../../../src/protocol/index.js';
import { ClientRig, expectBytes, flush, isSettled, states, submit, until, write } from './rig.js';
import type { WatchedOst } from './watched-ost.js';

/** Who belongs to an in-sync set, and what is served meanwhile (docs/consistency, I1, I5 to I9, I14). */

let rig: ClientRig;
beforeEach(async () => {
  rig = await ClientRig.start();
});
afterEach(() => rig.end());

const open = async (change: object = {}): Promise<Volume> => {
  await rig.create('v', change);
  return rig.cluster.openVolume('v', { mode: 'write' });
};

/** Cuts an OST off until it is out of the set, by a write that it misses; `at` is its place among the members. */
async function dropped(volume: Volume, ost: WatchedOst, at: number, value: number): Promise<void> {
  ost.away = true;
  ost.cut();
  await write(volume, 0, value);
  await until(() => states(volume)[at] === 'stale');
}

/** Keeps back answers of the MDS to a method, until it is told to go on. */
function holdAnswers(cluster: Cluster, method: string): { count: () => number; release: () => void } {
  let count = 0;
  let release = () => {};
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  const call = cluster.mds.callUntilAnswered.bind(cluster.mds);
  cluster.mds.callUntilAnswered = async (name, params, giveUp) => {
    const answer = await call(name, params, giveUp);
    if (name === method) {
      count++;
      await released;
    }
    return answer;
  };
  return { count: () => count, release };
}

describe('replicas that lost power', () => {
  test('are not read before they have left the set, and are in sync again by a resync', async () => {
    const volume = await open();
    await write(volume, 0, 1);
    const [, second] = rig.ostsOf(volume);
    const mds = holdAnswers(rig.cluster, 'mds.changeMembers');
    second!.losses = 1;
    second!.cut();
    await until(() => mds.count() === 1);
    // They may wait, but not for an answer of that one.
    const reads = Array.from({ length: 10 }, () => submit(volume, BlockOp.READ, 0, 4096));
    await isSettled(Promise.all(reads));
    expect(second!.count(Opcode.READ)).toBe(0);
    mds.release();
    expect(await Promise.all(reads)).toEqual(Array(10).fill(null));
    await expectBytes(volume, 0, 1);
    await until(() => states(volume).every((state) => state === 'in-sync'));
    await volume.close();
  });

  test('leave before one that is only away: that one has everything, and is waited for', async () => {
    const volume = await open();
    await write(volume, 0, 1);
    const [good, emptied] = rig.ostsOf(volume);
    good!.away = true;
    emptied!.losses = 1;
    for (const ost of [good!, emptied!]) ost.cut();
    await until(() => states(volume)[1] !== 'in-sync');
    expect(states(volume)[0]).toBe('in-sync');
    const reading = submit(volume, BlockOp.READ, 0, 4096);
    expect(await isSettled(reading)).toBe(false);
    good!.away = false;
    expect(await reading).toBeNull();
    await until(() => states(volume).every((state) => state === 'in-sync'));
    await flush(volume);
    expect((await rig.object('v')).lossWallMs).toBeNull();
    await volume.close();
  });

  test('all of them: one is the source, and the loss is on record and told by the next flush', async () => {
    const volume = await open();
    await write(volume, 0, 1);
    for (const ost of rig.ostsOf(volume)) {
      ost.losses = 1;
      ost.cut();
    }
    expect(await submit(volume, BlockOp.FLUSH)).toMatchObject({ code: 'LOSS' });
    const object = await rig.object('v');
    expect(object.lossWallMs).not.toBeNull();
    await until(() => states(volume).every((state) => state === 'in-sync'));
    await flush(volume);
    await volume.close();
  });
});

test('two replicas that are away for a moment both stay in the set', async () => {
  const volume = await open();
  await write(volume, 0, 1);
  for (const ost of rig.ostsOf(volume)) {
    ost.away = true;
    ost.cut();
  }
  const writing = submit(volume, BlockOp.WRITE, 0, 4096, 2);
  expect(await isSettled(writing, 500)).toBe(false);
  for (const ost of rig.ostsOf(volume)) ost.away = false;
  expect(await writing).toBeNull();
  expect(states(volume)).toEqual(['in-sync', 'in-sync']);
  await volume.close();
});

describe('a resync', () => {
  const unreadable = { copiedBytes: 0, zeroedBytes: 0, sourceStatus: ERROR_CODES.IO.wire };

  test('takes another source where one cannot be read, and goes on in the same session', async () => {
    await rig.end();
    rig = await ClientRig.start(3);
    const volume = await open({ replicas: 3 });
    const third = rig.ostsOf(volume)[2]!;
    await dropped(volume, third, 2, 1);
    let attaches = 0;
    third.beforeCall = async (method) => {
      if (method === 'ost.attach') attaches++;
    };
    third.copyAnswers.push(unreadable);
    third.away = false;
    await until(() => states(volume).every((state) => state === 'in-sync'));
    expect(third.sources).toHaveLength(2);
    expect(new Set(third.sources).size).toBe(2);
    expect(attaches).toBe(1);
    await volume.close();
  });

  test('does not keep the guest from a region that nobody can be copied from', async () => {
    const volume = await open();
    const [, second] = rig.ostsOf(volume);
    await dropped(volume, second!, 1, 1);
    second!.copyAnswers.push(...Array(1000).fill(unreadable));
    second!.away = false;
    await until(() => second!.sources.length > 0);
    await write(volume, 0, 2);
    await until(() => second!.sources.length > 1);
    await write(volume, 0, 3);
    second!.copyAnswers.length = 0;
    await until(() => states(volume).every((state) => state === 'in-sync'));
    await expectBytes(volume, 0, 3);
    await expectBytes(volume, 0, 3);
    await volume.close();
  });

  test('begins anew when a source goes away before it was asked for its list', async () => {
    const volume = await open();
    const [first, second] = rig.ostsOf(volume);
    await dropped(volume, second!, 1, 2);
    // The source is cut off when the returning one has been asked, and is back at once.
    let cuts = 0;
    second!.beforeCall = async (method) => {
      if (method === 'ost.regions' && cuts++ === 0) first!.cut();
    };
    second!.away = false;
    await until(() => states(volume).every((state) => state === 'in-sync'));
    expect(cuts).toBeGreaterThan(0);
    first!.away = true;
    first!.cut();
    await expectBytes(volume, 0, 2);
    first!.away = false;
    await volume.close();
  });

  test('begins anew after a write that only the returning replica took', async () => {
    const volume = await open();
    const [first, second] = rig.ostsOf(volume);
    await dropped(volume, second!, 1, 1);
    // Its copies are over, its join is held up: a write comes that its only source refuses.
    first!.holds = (op) => op.opcode === Opcode.WRITE;
    let mayCopy = () => {};
    const copies = new Promise<void>((resolve) => {
      mayCopy = resolve;
    });
    let attaches = 0;
    second!.beforeCall = async (method) => {
      if (method === 'ost.attach') attaches++;
      if (method === 'ost.copy' && attaches === 1) await copies;
    };
    second!.away = false;
    await until(() => states(volume)[1] === 'resyncing');
    const writing = submit(volume, BlockOp.WRITE, 8 * MiB, 4096, 5);
    await until(() => first!.held === 1);
    first!.refuse();
    expect(await writing).toMatchObject({ code: 'NO_SPACE' });
    mayCopy();
    await until(() => states(volume).every((state) => state === 'in-sync'));
    expect(attaches).toBe(2);
    // Both hold the same, whichever is read.
    await expectBytes(volume, 8 * MiB, 0);
    await expectBytes(volume, 8 * MiB, 0);
    await volume.close();
  });
});

test('a region that only the returning replica was written in since is brought back as well', async () => {
  const at = 8 * MiB;
  const gateway = { mode: 'write', holder: 'gateway' } as const;
  const sealed = await open();
  await write(sealed, at, 1);
  await sealed.close();
  const dying = await rig.cluster.openVolume('v', gateway);
  const [first, second] = rig.ostsOf(dying);
  // The gateway ends while only one of them has the write; nobody was told that it is done.
  first!.holds = (op) => op.opcode === Opcode.WRITE;
  const before = second!.answered(Opcode.WRITE);
  submit(dying, BlockOp.WRITE, at, 4096, 5);
  await until(() => first!.held === 1 && second!.answered(Opcode.WRITE) > before);
  second!.away = true;
  second!.cut();
  const next = await rig.cluster.openVolume('v', gateway);
  await until(() => states(next)[1] === 'stale');
  second!.away = false;
  await until(() => states(next).every((state) => state === 'in-sync'));
  for (let i = 0; i < 4; i++) await expectBytes(next, at, 1);
  await next.close();
  await dying.close();
});

test('while a join is recorded but not answered, reads wait for a sign of life of the joining member', async () => {
  const volume = await open();
  const [, second] = rig.ostsOf(volume);
  await write(volume, 0, 1);
  await dropped(volume, second!, 1, 2);
  const mds = holdAnswers(rig.cluster, 'mds.changeMembers');
  second!.away = false;
  await until(() => mds.count() === 1);
  expect((await rig.object('v')).members.map((member) => member.state)).toEqual(['in-sync', 'in-sync']);
  // Another writer could open with the joining member alone from here on.
  second!.holds = () => true;
  await until(() => second!.held > 0);
  let reading = submit(volume, BlockOp.READ, 0, 4096);
  while (await isSettled(reading, 300)) reading = submit(volume, BlockOp.READ, 0, 4096);
  second!.release();
  expect(await reading).toBeNull();
  mds.release();
  await until(() => states(volume).every((state) => state === 'in-sync'));
  await volume.close();
});

test('a flush of nothing waits like any other for a sign of life of every replica', async () => {
  const volume = await open();
  await write(volume, 0, 1);
  await flush(volume);
  const osts = rig.ostsOf(volume);
  const flushes = osts.map((ost) => ost.count(Opcode.FLUSH));
  // Another writer may have opened by now, for all that is known here.
  for (const ost of osts) ost.holds = () => true;
  await until(() => osts.every((ost) => ost.held > 0));
  let flushing = submit(volume, BlockOp.FLUSH);
  while (await isSettled(flushing, 300)) flushing = submit(volume, BlockOp.FLUSH);
  for (const ost of osts) ost.release();
  expect(await flushing).toBeNull();
  expect(osts.map((ost) => ost.count(Opcode.FLUSH))).toEqual(flushes);
  await volume.close();
});

test('writes go on while a seal waits for the MDS', async () => {
  await rig.create('v');
  const cluster = await rig.connect('hasty', { seals: { periodMs: 200, leastMs: 0 } });
  const volume = await cluster.openVolume('v', { mode: 'write' });
  await write(volume, 0, 1);
  await rig.stopMds();
  const [ost] = rig.ostsOf(volume);
  const { epoch } = volume.object;
  // From the beginning of the seal on they are tagged newer than it, and are answered as ever.
  await until(async () => {
    await write(volume, 0, 2);
    return ost!.tags.at(-1)! > epoch;
  });
  await write(volume, 0, 2);
  await expectBytes(volume, 0, 2);
  await rig.startMds();
  await until(async () => (await rig.object('v')).lastSeal > 0);
  const { lastSeal } = await rig.object('v');
  expect(ost!.tags.at(-1)).toBeGreaterThan(lastSeal);
  await volume.close();
  await cluster.close();
});

describe('while the MDS is away', () => {
  const away = async (volume: Volume, ost: WatchedOst, moment: Promise<unknown>): Promise<void> => {
    await moment;
    ost.away = true;
    ost.cut();
    const writing = submit(volume, BlockOp.WRITE, 0, 4096, 7);
    expect(await isSettled(writing, 500)).toBe(false);
    ost.away = false;
    expect(await writing).toBeNull();
    await expectBytes(volume, 0, 7);
  };

  test('a seal that waits for it keeps no lost replica away', async () => {
    await rig.create('v');
    const cluster = await rig.connect('hasty', { seals: { idleMs: 200 } });
    const volume = await cluster.openVolume('v', { mode: 'write' });
    await write(volume, 0, 1);
    const mds = holdAnswers(cluster, 'mds.seal');
    await away(
      volume,
      rig.ostsOf(volume)[1]!,
      until(() => mds.count() === 1),
    );
    expect(states(volume)).toEqual(['in-sync', 'in-sync']);
    mds.release();
    await volume.close();
    await cluster.close();
  });

  test('nor does a join, of the joining one neither', async () => {
    const volume = await open();
    const [, second] = rig.ostsOf(volume);
    await dropped(volume, second!, 1, 2);
    const mds = holdAnswers(rig.cluster, 'mds.changeMembers');
    second!.away = false;
    await away(
      volume,
      second!,
      until(() => mds.count() === 1),
    );
    mds.release();
    await until(() => states(volume).every((state) => state === 'in-sync'));
    expect((await rig.object('v')).members.map((member) => member.state)).toEqual(['in-sync', 'in-sync']);
    await volume.close();
  });

  test('a replica that comes back without what it had hides that from no flush', async () => {
    const volume = await open();
    const [first, second] = rig.ostsOf(volume);
    await write(volume, 0, 1);
    const mds = holdAnswers(rig.cluster, 'mds.changeMembers');
    second!.away = true;
    second!.cut();
    await until(() => mds.count() === 1);
    first!.losses = 1;
    first!.cut();
    let attached = false;
    first!.beforeCall = async (method) => {
      attached ||= method === 'ost.attach';
    };
    await until(() => attached);
    const flushing = submit(volume, BlockOp.FLUSH);
    // It may be asked meanwhile, and say yes.
    await isSettled(flushing, 300);
    mds.release();
    expect(await flushing).toMatchObject({ code: 'LOSS' });
    expect((await rig.object('v')).lossWallMs).not.toBeNull();
    second!.away = false;
    await until(() => states(volume).every((state) => state === 'in-sync'));
    await volume.close();
  });

  test('a replica whose drop it has not answered takes part again, but nothing is read from it', async () => {
    const volume = await open();
    const [, second] = rig.ostsOf(volume);
    await write(volume, 0, 1);
    const mds = holdAnswers(rig.cluster, 'mds.changeMembers');
    second!.away = true;
    second!.cut();
    await until(() => mds.count() === 1);
    const writing = submit(volume, BlockOp.WRITE, 0, 4096, 7);
    expect(await isSettled(writing, 200)).toBe(false);
    second!.away = false;
    expect(await writing).toBeNull();
    const reads = second!.count(Opcode.READ);
    for (let i = 0; i < 6; i++) await expectBytes(volume, 0, 7);
    expect(second!.count(Opcode.READ)).toBe(reads);
    // It counts: without its answer nothing is acknowledged, as long as the drop may not be on record.
    second!.holds = (op) => op.opcode === Opcode.WRITE;
    const waiting = submit(volume, BlockOp.WRITE, 0, 4096, 8);
    expect(await isSettled(waiting, 200)).toBe(false);
    mds.release();
    expect(await waiting).toBeNull();
    second!.release();
    await until(() => states(volume).every((state) => state === 'in-sync'));
    await expectBytes(volume, 0, 8);
    await volume.close();
  });
});
