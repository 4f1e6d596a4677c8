import { beforeEach, describe, expect, test } from 'vitest';
import { createSpec, failure, ostInfo, Rig } from './support.js';

let rig: Rig;
beforeEach(async () => {
  rig = await Rig.start(2);
  await rig.mds.createObject(createSpec());
});

const lease = async () => (await rig.mds.getObj({ ref: 'vol' })).lease;

describe('open', () => {
  test('for write gives a session with a new epoch and says how the object was left', async () => {
    const first = await rig.openFor('a');
    expect(first).toMatchObject({ sessionEpoch: 2, wasClean: true, leaseMs: 10_000 });
    expect(first.object).toMatchObject({ epoch: 2, clean: false, lease: { holder: 'a', sessionEpoch: 2 } });
    expect(first.osts.map((o) => o.ostId).sort()).toEqual(first.object.members.map((m) => m.ostId).sort());
    await rig.mds.close({ id: first.object.id, sessionEpoch: 2, clean: true });
    expect(await lease()).toBeNull();
    const second = await rig.openFor('b');
    expect(second).toMatchObject({ sessionEpoch: 3, wasClean: true });
    await rig.mds.close({ id: first.object.id, sessionEpoch: 3, clean: false });
    expect((await rig.openFor('c')).wasClean).toBe(false);
  });

  test('for read takes no lease, changes nothing, and gives the epoch of the current session', async () => {
    const { sessionEpoch, object } = await rig.openFor('a');
    await rig.mds.seal({ id: object.id, sessionEpoch, expectedEpoch: 2, requestId: 'r', seal: 2 });
    const read = await rig.mds.open({ ref: 'vol', mode: 'read', holder: 'b', force: false }, {});
    expect(read.sessionEpoch).toBe(sessionEpoch);
    expect(read.object.epoch).toBe(3);
    expect(await lease()).toMatchObject({ holder: 'a' });
    await rig.mds.close({ id: object.id, sessionEpoch, clean: true });
    const clean = await rig.mds.open({ ref: 'vol', mode: 'read', holder: 'b', force: false }, {});
    expect([clean.wasClean, clean.object.clean]).toEqual([true, true]);
  });

  test('gives the addresses the OSTs have now', async () => {
    await rig.mds.registerOst(ostInfo(1, { addresses: ['tcp://10.9.9.9:1'] }), rig);
    const { osts } = await rig.openFor('a');
    expect(osts.flatMap((o) => o.addresses)).toContain('tcp://10.9.9.9:1');
  });

  test('of several at once one gets it', async () => {
    const all = await Promise.allSettled(['a', 'b', 'c'].map((holder) => rig.openFor(holder)));
    expect(all.map((r) => r.status)).toEqual(['fulfilled', 'rejected', 'rejected']);
    expect((await rig.mds.getObj({ ref: 'vol' })).epoch).toBe(2);
  });
});

describe('a lease', () => {
  test('is refused to others, naming the holder and the way to force', async () => {
    await rig.openFor('qemu@alpha:17');
    const error = await failure('BUSY', rig.openFor('qemu@beta:9'));
    expect(error.exitCode).toBe(75);
    expect(error.toUserText()).toMatch(/'vol'.*qemu@alpha:17.*2026-01-01.*--force/s);
    expect((await rig.mds.getObj({ ref: 'vol' })).epoch).toBe(2);
  });

  test('lasts for its time, by the monotonic clock, and longer when renewed', async () => {
    const { object, sessionEpoch } = await rig.openFor('a');
    rig.clock.advance(9_999);
    await rig.mds.renew({ id: object.id, sessionEpoch }, {});
    rig.clock.advance(9_999);
    rig.clock.setWall(0);
    await failure('BUSY', rig.openFor('b'));
    rig.clock.advance(1);
    expect(await lease()).toBeNull();
    expect((await rig.openFor('b')).sessionEpoch).toBe(3);
  });

  test('that lapsed is still there for its holder while nobody else came', async () => {
    const { object, sessionEpoch } = await rig.openFor('a');
    rig.clock.advance(60_000);
    await rig.mds.renew({ id: object.id, sessionEpoch }, {});
    await failure('BUSY', rig.openFor('b'));
  });

  test('lapses two seconds after its connection was lost', async () => {
    const caller = {};
    await rig.openFor('a', { caller });
    rig.mds.lost(caller);
    rig.clock.advance(1_999);
    await failure('BUSY', rig.openFor('b'));
    rig.clock.advance(1);
    await rig.openFor('b');
  });

  test('survives the loss of a connection when it is renewed over another', async () => {
    const [old, fresh] = [{}, {}];
    const { object, sessionEpoch } = await rig.openFor('a', { caller: old });
    rig.mds.lost(old);
    rig.clock.advance(1_000);
    await rig.mds.renew({ id: object.id, sessionEpoch }, fresh);
    rig.clock.advance(5_000);
    await failure('BUSY', rig.openFor('b'));
    rig.mds.lost(old);
    rig.clock.advance(3_000);
    await failure('BUSY', rig.openFor('b'));
  });

  test("is not shortened by the loss of somebody else's connection", async () => {
    await rig.openFor('a');
    rig.mds.lost({});
    rig.clock.advance(5_000);
    await failure('BUSY', rig.openFor('b'));
  });

  test('is taken over by the same holder at once', async () => {
    const first = await rig.openFor('a');
    const again = await rig.openFor('a');
    expect(again).toMatchObject({ sessionEpoch: 3, wasClean: false });
    await failure('FENCED', rig.mds.renew({ id: first.object.id, sessionEpoch: 2 }, {}));
  });

  test('is taken over by force, and the earlier holder is fenced', async () => {
    const { object, sessionEpoch } = await rig.openFor('a');
    const second = await rig.openFor('b', { force: true });
    expect(second.sessionEpoch).toBe(3);
    const error = await failure('FENCED', rig.mds.renew({ id: object.id, sessionEpoch }, {}));
    expect(error.toUserText()).toContain("'b' opened it");
    await failure('FENCED', rig.mds.close({ id: object.id, sessionEpoch, clean: true }));
    expect((await rig.mds.getObj({ ref: 'vol' })).lease).toMatchObject({ holder: 'b', sessionEpoch: 3 });
  });

  test('that has lapsed is not taken to look after the volume, nor the volume removed, unless OSTs see no writer', async () => {
    const { object, sessionEpoch } = await rig.openFor('a');
    rig.clock.advance(60_000);
    expect(await lease()).toBeNull();
    const keeper = { ref: 'vol', mode: 'write' as const, holder: 'keeper', force: false, yields: true };
    await failure('BUSY', rig.mds.open(keeper, {}));
    await failure('BUSY', rig.mds.open({ ...keeper, yields: false, ifClosed: true }, {}));
    await failure('BUSY', rig.mds.open({ ...keeper, unseenSession: sessionEpoch - 1 }, {}));
    await failure('BUSY', rig.mds.remove({ ref: 'vol', force: false }));
    // It was cut off, and goes on.
    await rig.mds.renew({ id: object.id, sessionEpoch }, {});
    rig.clock.advance(60_000);
    const kept = await rig.mds.open({ ...keeper, unseenSession: sessionEpoch }, {});
    // Of one that looks after it no guest depends.
    rig.clock.advance(60_000);
    await rig.mds.open({ ...keeper, holder: 'another keeper' }, {});
    expect(kept.sessionEpoch).toBe(sessionEpoch + 1);
    await rig.mds.remove({ ref: 'vol', force: false });
  });

  test('does not lapse while the MDS is held up: what its holder sent waits to be read', async () => {
    const { object, sessionEpoch } = await rig.openFor('a');
    rig.clock.advance(5_000);
    rig.clock.holdUp(60_000);
    await failure('BUSY', rig.openFor('b'));
    await failure('BUSY', rig.mds.remove({ ref: 'vol', force: false }));
    expect((await rig.mds.listOsts()).osts.every(({ alive }) => alive)).toBe(true);
    rig.clock.advance(3_000);
    await failure('BUSY', rig.openFor('b'));
    await rig.mds.renew({ id: object.id, sessionEpoch }, {});
    rig.clock.advance(9_000);
    await failure('BUSY', rig.openFor('b'));
    rig.clock.advance(1_000);
    await rig.openFor('b');
  });

  test('counts in stat while it is held', async () => {
    const { object, sessionEpoch } = await rig.openFor('a');
    expect((await rig.mds.stat()).leases).toBe(1);
    await rig.mds.close({ id: object.id, sessionEpoch, clean: true });
    expect((await rig.mds.stat()).leases).toBe(0);
    await rig.openFor('a');
    await rig.mds.remove({ ref: 'vol', force: true });
    expect((await rig.mds.stat()).leases).toBe(0);
  });
});

describe('after a restart of the MDS', () => {
  test('a lease is good for four seconds, then for as long as it is renewed', async () => {
    const { object, sessionEpoch } = await rig.openFor('a');
    await rig.restart();
    await failure('BUSY', rig.openFor('b'));
    rig.clock.advance(3_999);
    expect(await lease()).toMatchObject({ holder: 'a' });
    await rig.mds.renew({ id: object.id, sessionEpoch }, {});
    rig.clock.advance(9_000);
    await failure('BUSY', rig.openFor('b'));
  });

  test('one that was given and has lapsed since does not count as one from before', async () => {
    await rig.mds.createObject(createSpec({ name: 'other' }));
    await rig.restart();
    const caller = {};
    await rig.openFor('a', { caller });
    rig.mds.lost(caller);
    rig.clock.advance(2_500);
    await rig.openFor('a', { ref: 'other' });
    expect((await rig.openFor('b')).wasClean).toBe(false);
  });

  test('one that is not renewed lapses', async () => {
    await rig.openFor('a');
    await rig.restart();
    rig.clock.advance(4_000);
    expect((await rig.openFor('b')).wasClean).toBe(false);
  });

  test('a closed session holds nothing, and a fenced one stays fenced', async () => {
    const first = await rig.openFor('a');
    const { object, sessionEpoch } = await rig.openFor('b', { force: true });
    await rig.mds.close({ id: object.id, sessionEpoch, clean: true });
    await rig.restart();
    await failure('FENCED', rig.mds.renew({ id: object.id, sessionEpoch: first.sessionEpoch }, {}));
    expect(await rig.openFor('c')).toMatchObject({ wasClean: true, sessionEpoch: 4 });
  });
});

describe('close', () => {
  test('again is no change, also with another flag', async () => {
    const { object, sessionEpoch } = await rig.openFor('a');
    await rig.mds.close({ id: object.id, sessionEpoch, clean: true });
    await rig.mds.close({ id: object.id, sessionEpoch, clean: false });
    expect((await rig.mds.getObj({ ref: 'vol' })).clean).toBe(true);
  });

  test('ends the session: nothing late of it is recorded', async () => {
    const { object, sessionEpoch } = await rig.openFor('a');
    await rig.mds.close({ id: object.id, sessionEpoch, clean: true });
    await failure('FENCED', rig.mds.renew({ id: object.id, sessionEpoch }, {}));
    const seal = { id: object.id, sessionEpoch, expectedEpoch: 2, requestId: 'late', seal: 2 };
    await failure('FENCED', rig.mds.seal(seal));
  });

  test('of an object that was never opened is fenced', async () => {
    const { id } = await rig.mds.getObj({ ref: 'vol' });
    await failure('FENCED', rig.mds.close({ id, sessionEpoch: 0, clean: true }));
  });
});

test('after a start that took long holders have their time from when they can be heard, and so have OSTs', async () => {
  await rig.openFor('a');
  const range = rig.store.range.bind(rig.store);
  rig.store.range = (asked) => {
    if (asked.from === 'tomb/') rig.clock.advance(60_000);
    return range(asked);
  };
  await rig.restart();
  await failure('BUSY', rig.openFor('b'));
  let made: unknown = null;
  const making = rig.mds.createObject(createSpec({ name: 'new' })).then((object) => {
    made = object;
  });
  rig.clock.advance(3_900);
  await new Promise((resolve) => setImmediate(resolve));
  expect(made).toBeNull();
  await rig.registerOsts(2);
  await making;
  await failure('BUSY', rig.openFor('b'));
  rig.clock.advance(200);
  await rig.openFor('b');
});
