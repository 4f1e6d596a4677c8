import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { RawstorError } from '../../../src/common/errors.js';
import { isId } from '../../../src/common/ids.js';
import { placeChunk } from '../../../src/common/placement.js';
import { GiB } from '../../../src/common/units.js';
import { MemoryStore } from '../../../src/mds/index.js';
import { mapWith } from '../../../src/mds/replace.js';
import { LmdbStore } from '../../../src/mds/store-lmdb.js';
import type { CreateSpec, Member, ObjectInfo, WantedMove } from '../../../src/protocol/index.js';
import { decodeBody } from '../../../src/protocol/index.js';
import { createSpec, failure, ostInfo, Rig, testId } from './support.js';

let rig: Rig;
let object: ObjectInfo;
let session: number;
let requests = 0;

async function setUp(osts: number, changes: Partial<CreateSpec> = {}): Promise<void> {
  rig = await Rig.start(osts);
  await rig.mds.createObject(createSpec(changes));
  const opened = await rig.openFor('writer');
  object = opened.object;
  session = opened.sessionEpoch;
}
beforeEach(() => setUp(3));

const info = () => rig.mds.getObj({ ref: 'vol' });
const poolOf = (of: { map: { pool: readonly { ostId: string }[] } }) => of.map.pool.map((t) => t.ostId);
const move = async (from: string | null, to: string | null = null, dryRun = false): Promise<WantedMove> =>
  (await rig.mds.moves.move({ id: object.id, from, to, dryRun })).wanted;
const member = (ostId: string, state: Member['state'] = 'in-sync'): Member => ({
  ostId,
  state,
  bootId: { kernel: 'k', generation: 1 },
  staleSince: 0,
});
async function adopt(wantedId: string, members: Member[]): Promise<number> {
  const { epoch } = await info();
  const requestId = `m${++requests}`;
  const swap = { id: object.id, sessionEpoch: session, expectedEpoch: epoch, requestId, loss: false };
  return (await rig.mds.changeMembers({ ...swap, members, adopt: wantedId })).epoch;
}
const leftOn = async (number: number) => (await rig.mds.registerOst(ostInfo(number), rig)).leftObjects;
const numberOf = (ostId: string) => Number.parseInt(ostId.slice(-12), 16);
const free = () => [1, 2, 3].map(testId).find((id) => !poolOf(object).includes(id))!;

describe('a move', () => {
  test('is told to the writer, and taken with the join of the new OST, without another change of the epoch', async () => {
    const [from, stays] = poolOf(object);
    const { epoch } = await info();
    const wanted = await move(from!);
    expect(wanted).toMatchObject({ from, to: free() });
    expect(await info()).toMatchObject({ epoch, wanted, map: object.map });
    const renewed = await rig.mds.renew({ id: object.id, sessionEpoch: session }, rig);
    expect(renewed.wanted).toEqual(wanted);
    expect(renewed.osts.map((ost) => ost.ostId)).toContain(wanted.to);
    expect(await adopt(wanted.id, [member(stays!), member(wanted.to)])).toBe(epoch + 1);
    const moved = await info();
    expect(moved).toMatchObject({ map: wanted.map, wanted: null, left: [from] });
    expect(moved.members).toEqual([member(stays!), member(wanted.to)]);
  });

  test('that was given up is not taken any more, and its OST is not asked again before it has deleted', async () => {
    const [from, stays] = poolOf(object);
    const wanted = await move(from!);
    await rig.mds.moves.cancelMove({ id: object.id });
    await failure('NOT_FOUND', adopt(wanted.id, [member(stays!), member(wanted.to)]));
    expect(await info()).toMatchObject({ map: object.map, wanted: null, left: [wanted.to] });
    const refused = await failure('UNSATISFIABLE', move(from!));
    expect(refused.where).toContain('older copy');
    const { id } = object;
    await rig.mds.moves.moveStored({ id, sessionEpoch: session, ostIds: [wanted.to] });
    await failure('UNSATISFIABLE', move(from!));
    const told = await leftOn(numberOf(wanted.to));
    expect(told).toEqual([{ id, epoch: (await info()).epoch }]);
    await rig.mds.moves.confirmLeft({ ostId: wanted.to, objects: [id] });
    expect(await leftOn(numberOf(wanted.to))).toEqual([]);
    expect((await move(from!)).id).not.toBe(wanted.id);
  });

  test('stays as it is when it is wished again, but not to an OST that has died', async () => {
    await setUp(4);
    const [from] = poolOf(object);
    const first = await move(from!);
    expect(await move(from!)).toEqual(first);
    const other = poolOf(object)[1]!;
    await failure('BUSY', move(other));
    rig.clock.advance(9000);
    for (let n = 1; n <= 4; n++) if (testId(n) !== first.to) await rig.mds.registerOst(ostInfo(n), rig);
    rig.clock.advance(2000);
    const second = await move(from!);
    expect(second.to).not.toBe(first.to);
    expect(await info()).toMatchObject({ wanted: second, left: [first.to] });
  });

  test('leaves nobody behind who is told before a writer says that all know the map', async () => {
    const [from, stays] = poolOf(object);
    const wanted = await move(from!);
    await adopt(wanted.id, [member(stays!), member(wanted.to)]);
    expect(await leftOn(numberOf(from!))).toEqual([]);
    const stored = { id: object.id, sessionEpoch: session - 1, ostIds: [from!] };
    await failure('FENCED', rig.mds.moves.moveStored(stored));
    await rig.mds.moves.moveStored({ ...stored, sessionEpoch: session });
    expect(rig.removed).toContainEqual({ objectId: object.id, ostIds: [from] });
    await rig.restart();
    expect(await leftOn(numberOf(from!))).toHaveLength(1);
  });

  test('is not taken without the join, nor when a chunk would have no copy in sync', async () => {
    const [from, stays] = poolOf(object);
    const wanted = await move(from!);
    await failure('INVALID', adopt(wanted.id, [member(stays!), member(wanted.to, 'stale')]));
    await failure('INVALID', adopt(wanted.id, [member(stays!), member(from!), member(wanted.to)]));
    expect(await info()).toMatchObject({ map: object.map, members: object.members });
    // The one that stays may be behind: the new one has all.
    await adopt(wanted.id, [member(stays!, 'stale'), member(wanted.to)]);
    expect((await info()).members.map((m) => m.state)).toEqual(['stale', 'in-sync']);
  });

  test('leaves nothing of its progress when the object is removed', async () => {
    const progress = { ostId: poolOf(object)[1]!, regionsDone: 1, regionsTotal: 2, copiedBytes: 0 };
    await rig.mds.renew({ id: object.id, sessionEpoch: session, recovery: [progress] }, rig);
    expect(rig.mds.moves.progress(object.id)).toEqual([progress]);
    await rig.mds.remove({ ref: 'vol', force: true });
    expect(rig.mds.moves.progress(object.id)).toEqual([]);
  });

  test('a removal of the object goes to where it was to come, too', async () => {
    const wanted = await move(poolOf(object)[0]!);
    await rig.mds.remove({ ref: 'vol', force: true });
    expect(rig.removed.at(-1)!.ostIds).toContain(wanted.to);
  });
});

describe('an OST', () => {
  test('that is taken out beside a creation is either busy or has nothing of it', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'rawstor-moves-'));
    const stores = [new MemoryStore(), new LmdbStore(dir)];
    const outcomes = new Set<string>();
    for (const store of stores) {
      for (let microtasks = 0; microtasks < 40; microtasks++) {
        const { mds } = await Rig.start(0, store);
        for (const { ostId } of (await mds.listOsts()).osts) await mds.moves.removeOst({ ostId, lost: true });
        const ost = ostInfo(100 + microtasks);
        await mds.registerOst(ost, {});
        const removing = mds.moves.removeOst({ ostId: ost.ostId });
        const removed = removing.then(
          () => 'removed',
          ({ code }) => code,
        );
        for (let i = 0; i < microtasks; i++) await Promise.resolve();
        const creating = mds.createObject(createSpec({ name: `v${microtasks}`, replicas: 1 }));
        const made = await creating.then(
          ({ id }) => id,
          ({ code }) => code,
        );
        const outcome = `${await removed} ${isId(made) ? 'made' : made}`;
        outcomes.add(outcome);
        if (!isId(made)) continue;
        await mds.remove({ ref: made, force: true });
      }
      await store.close();
    }
    rmSync(dir, { recursive: true });
    expect([...outcomes].filter((o) => o !== 'BUSY made' && o !== 'removed UNSATISFIABLE')).toEqual([]);
  });

  test('whose mark cannot be recorded is not marked', async () => {
    const { store, mds } = rig;
    const transact = store.transact.bind(store);
    store.transact = async () => {
      throw new RawstorError('IO', 'the metadata was not written');
    };
    await failure('IO', mds.moves.setOst({ ostId: testId(1), draining: true }));
    store.transact = transact;
    expect((await mds.listOsts()).osts.map(({ draining }) => draining)).toEqual([false, false, false]);
  });

  test('that is draining gets nothing new, over restarts of the MDS', async () => {
    await rig.mds.moves.setOst({ ostId: testId(1), draining: true });
    await rig.restart();
    rig.clock.advance(10);
    await rig.registerOsts(3);
    for (const name of ['a', 'b', 'c']) {
      expect(poolOf(await rig.mds.createObject(createSpec({ name })))).not.toContain(testId(1));
    }
    const error = await failure(
      'UNSATISFIABLE',
      rig.mds.createObject(createSpec({ name: 'd', replicas: 3 })),
    );
    expect(error.where).toContain('1 draining');
    await failure('UNSATISFIABLE', rig.mds.createObject(createSpec({ name: 'd', near: 'host1' })));
    await rig.mds.moves.setOst({ ostId: testId(1), draining: false });
    expect((await rig.mds.createObject(createSpec({ name: 'd', replicas: 3 }))).replicas).toBe(3);
  });

  test('that is removed is waited for by no removal of a volume', async () => {
    const [gone, stays] = poolOf(object);
    await rig.mds.remove({ ref: 'vol', force: true });
    expect((await rig.mds.registerOst(ostInfo(numberOf(gone!)), rig)).deletedObjects).toEqual([object.id]);
    await rig.mds.moves.removeOst({ ostId: gone! });
    await rig.mds.confirmDeleted({ ostId: stays!, objects: [object.id] });
    const entry = await rig.store.get(`tomb/${object.id}`);
    expect(decodeBody(entry!.value)).toMatchObject({ ostIds: [] });
  });

  test('is removed when nothing is on it, and then is not let in again', async () => {
    const [used] = poolOf(object);
    await failure('BUSY', rig.mds.moves.removeOst({ ostId: used! }));
    await rig.mds.moves.removeOst({ ostId: free() });
    expect((await rig.mds.listOsts()).osts.map((ost) => ost.ostId)).not.toContain(free());
    const error = await failure('DENIED', rig.mds.registerOst(ostInfo(numberOf(free())), {}));
    expect(error.hint).toContain('empty directory');
    await rig.restart();
    await failure('DENIED', rig.mds.registerOst(ostInfo(numberOf(free())), {}));
    await failure('NOT_FOUND', rig.mds.moves.setOst({ ostId: free(), draining: true }));
  });

  test('that is to get something counts as one with something on it', async () => {
    const wanted = await move(poolOf(object)[0]!);
    const { objects } = await rig.mds.moves.objectsOn({ ostId: wanted.to, after: '', limit: 10 });
    expect(objects.map(({ name }) => name)).toEqual(['vol']);
    await failure('BUSY', rig.mds.moves.removeOst({ ostId: wanted.to }));
  });
});

describe('who has the only copy', () => {
  const giveUp = (ostId: string) => rig.mds.moves.giveUpCopy({ id: object.id, ostId });
  const close = () => rig.mds.close({ id: object.id, sessionEpoch: session, clean: true });

  test('is not given up while the object is in use, nor when others have it all', async () => {
    await failure('BUSY', giveUp(poolOf(object)[0]!));
    await close();
    await giveUp(poolOf(object)[0]!);
    expect(await info()).toMatchObject({ lossWallMs: null, map: object.map });
  });

  test('is given up for an older copy: that is the newest then, and the loss is on record', async () => {
    const [only, older] = poolOf(object);
    const { epoch } = await info();
    const swap = { id: object.id, sessionEpoch: session, expectedEpoch: epoch, requestId: 'x', loss: false };
    await rig.mds.changeMembers({ ...swap, members: [member(only!), member(older!, 'stale')] });
    await close();
    await giveUp(only!);
    const after = await info();
    expect(after.lossWallMs).not.toBeNull();
    expect(after).toMatchObject({ clean: false, lossEpoch: epoch + 2, epoch: epoch + 2 });
    expect(after.members.map((m) => [m.ostId, m.state])).toEqual([
      [only, 'stale'],
      [older, 'in-sync'],
    ]);
    // The session that may still believe in itself is over.
    await failure('FENCED', rig.mds.renew({ id: object.id, sessionEpoch: session }, rig));
  });

  test('and for nothing where it was the only one', async () => {
    await setUp(3, { replicas: 1 });
    await close();
    const [only] = poolOf(object);
    await giveUp(only!);
    const after = await info();
    expect(after.lossWallMs).not.toBeNull();
    expect(poolOf(after)).not.toContain(only);
    expect(after.members).toEqual([
      { ostId: poolOf(after)[0], state: 'in-sync', bootId: null, staleSince: 0 },
    ]);
  });
});

test('an object that is given up while it is moved lives in one place, with nothing to delete there', async () => {
  await setUp(2, { replicas: 1 });
  const [only] = poolOf(object);
  const { to } = await move(only!);
  await rig.mds.close({ id: object.id, sessionEpoch: session, clean: true });
  await rig.mds.moves.giveUpCopy({ id: object.id, ostId: only! });
  const after = await info();
  expect(poolOf(after)).toEqual([to]);
  expect(after).toMatchObject({ left: [], wanted: null });
});

describe('a place in a pool', () => {
  const domains = ['a', 'b', 'c', 'd'];
  const pools = fc
    .array(fc.constantFrom(...domains), { minLength: 3, maxLength: 8 })
    .filter((drawn) => new Set(drawn).size >= 2);

  test('that another takes moves the chunks of the former one only, and to that other only', () => {
    fc.assert(
      fc.property(pools, fc.nat(), fc.integer({ min: 1, max: 2 }), (drawn, at, replicas) => {
        const pool = drawn.map((domain, i) => ({ ostId: testId(i + 1), weight: 1 + i, domain }));
        const map = { rule: 'hash' as const, pool, nearDomain: '', exceptions: [] };
        const of = { ...object, map, replicas };
        const from = pool[at % pool.length]!.ostId;
        const to = ostInfo(99, { labels: { host: 'new' } });
        const next = mapWith(of, from, to);
        for (let chunk = 0; chunk < 40; chunk++) {
          const before = placeChunk(map, object.id, replicas, chunk);
          const after = placeChunk(next, object.id, replicas, chunk);
          expect(after).toEqual(before.map((ostId) => (ostId === from ? to.ostId : ostId)));
        }
      }),
    );
  });

  test('that is added takes chunks from others, and moves none among them', () => {
    fc.assert(
      fc.property(pools, fc.constantFrom(...domains, 'new'), (drawn, domain) => {
        const pool = drawn.map((d, i) => ({ ostId: testId(i + 1), weight: 1 + i, domain: d }));
        const map = { rule: 'hash' as const, pool, nearDomain: '', exceptions: [] };
        const of = { ...object, map, replicas: 2 };
        const to = ostInfo(99, { labels: { host: domain }, freeBytes: 8 });
        const next = mapWith(of, null, to);
        for (let chunk = 0; chunk < 40; chunk++) {
          const before = placeChunk(map, object.id, 2, chunk);
          const gained = placeChunk(next, object.id, 2, chunk).filter((ostId) => !before.includes(ostId));
          expect(gained.filter((ostId) => ostId !== to.ostId)).toEqual([]);
        }
      }),
    );
  });

  test('never goes to the domain of another copy', async () => {
    await setUp(2);
    const stays = numberOf(poolOf(object)[1]!);
    await rig.mds.registerOst(ostInfo(7, { labels: { host: `host${stays}` } }), rig);
    const error = await failure('UNSATISFIABLE', move(poolOf(object)[0]!));
    expect(error.where).toContain(`is on host 'host${stays}', as another copy`);
    await rig.mds.registerOst(ostInfo(8, { freeBytes: 8 * GiB }), rig);
    expect((await move(poolOf(object)[0]!)).to).toBe(testId(8));
  });
});

describe('a target that has only left what its guests are to have', () => {
  const full = { freeBytes: 4 * GiB };

  test('is none', async () => {
    await rig.mds.registerOst(ostInfo(numberOf(free()), full), rig);
    const error = await failure('UNSATISFIABLE', move(poolOf(object)[0]!));
    expect(error.where).toContain('has only left what its guests are to have');
  });

  test('is given up for another, when it has become so on the way', async () => {
    const [from] = poolOf(object);
    const { to } = await move(from!);
    await rig.mds.registerOst(ostInfo(numberOf(to), full), rig);
    await rig.mds.registerOst(ostInfo(9), rig);
    expect((await move(from!)).to).toBe(testId(9));
  });
});

describe('an OST that is away for long', () => {
  const away = async (ms: number, silent: string) => {
    for (let passed = 0; passed < ms; passed += 5000) {
      rig.clock.advance(5000);
      for (const n of [1, 2, 3]) if (testId(n) !== silent) await rig.mds.registerOst(ostInfo(n), rig);
    }
  };

  test('is replaced although it was being drained', async () => {
    await rig.restart({ replaceAfterMs: 60_000 });
    for (const n of [1, 2, 3]) await rig.mds.registerOst(ostInfo(n), rig);
    const [silent] = poolOf(object);
    await rig.mds.moves.setOst({ ostId: silent!, draining: true });
    await away(90_000, silent!);
    expect((await info()).wanted).toMatchObject({ from: silent, to: free() });
  });

  test('is replaced by itself, and not before', async () => {
    await rig.restart({ replaceAfterMs: 60_000 });
    await rig.registerOsts(3);
    const [silent] = poolOf(object);
    await away(50_000, silent!);
    expect((await info()).wanted).toBeNull();
    await away(40_000, silent!);
    expect((await info()).wanted).toMatchObject({ from: silent, to: free() });
  });

  test('is replaced beside a damaged record, which is left out of lists but keeps its OSTs from being removed', async () => {
    await rig.mds.createObject(createSpec({ name: 'a' }));
    const { id } = await rig.mds.getObj({ ref: 'a' });
    await rig.store.transact({ checks: [], puts: [{ key: `object/${id}`, value: Buffer.from([0x80]) }] });
    await rig.restart({ replaceAfterMs: 60_000 });
    await rig.registerOsts(3);
    expect((await rig.mds.list({ after: '', limit: 10 })).objects.map(({ name }) => name)).toEqual(['vol']);
    const [silent] = poolOf(object);
    await away(90_000, silent!);
    expect((await info()).wanted).toMatchObject({ from: silent, to: free() });
    await rig.mds.remove({ ref: 'vol', force: true });
    const error = await failure('BAD_DATA', rig.mds.moves.removeOst({ ostId: silent! }));
    expect(error.message).toContain(id);
  });

  test('is replaced after a look for it has failed', async () => {
    await rig.restart({ replaceAfterMs: 60_000 });
    await rig.registerOsts(3);
    const range = rig.store.range.bind(rig.store);
    let failed = 0;
    rig.store.range = async (asked) => {
      if (!asked.from.startsWith('name/')) return range(asked);
      failed++;
      throw new RawstorError('IO', 'a sector cannot be read');
    };
    const [silent] = poolOf(object);
    await away(90_000, silent!);
    expect(failed).toBeGreaterThan(0);
    rig.store.range = range;
    await away(30_000, silent!);
    expect((await info()).wanted).toMatchObject({ from: silent });
  });

  test('is not where it has the only copy: nothing could be copied', async () => {
    const [only, older] = poolOf(object);
    const { epoch } = await info();
    const swap = { id: object.id, sessionEpoch: session, expectedEpoch: epoch, requestId: 'x', loss: false };
    await rig.mds.changeMembers({ ...swap, members: [member(only!), member(older!, 'stale')] });
    await rig.restart({ replaceAfterMs: 60_000 });
    await rig.registerOsts(3);
    await away(200_000, only!);
    expect((await info()).wanted).toBeNull();
  });
});
