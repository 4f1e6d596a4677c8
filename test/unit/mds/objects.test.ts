import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { LIMITS } from '../../../src/common/limits.js';
import { GiB, MiB, TiB } from '../../../src/common/units.js';
import { MemoryStore } from '../../../src/mds/index.js';
import { decodeStored, encodeStored } from '../../../src/mds/stored-object.js';
import { decodeBody, encodeBody, MDS_METHODS, type ObjectInfo } from '../../../src/protocol/index.js';
import { createSpec, failure, ostInfo, Rig, testId } from './support.js';

let rig: Rig;
beforeEach(async () => {
  rig = await Rig.start(3);
});

describe('rename', () => {
  test('gives another name of a new epoch; the old one is free', async () => {
    const made = await rig.mds.createObject(createSpec());
    const renamed = await rig.mds.rename({ ref: 'vol', name: 'other' });
    expect(renamed).toEqual({ ...made, name: 'other', epoch: made.epoch + 1 });
    expect(await rig.mds.getObj({ ref: 'other' })).toEqual(renamed);
    await failure('NOT_FOUND', rig.mds.getObj({ ref: 'vol' }));
    expect((await rig.mds.stat()).objects).toBe(1);
    await rig.mds.createObject(createSpec());
    expect((await rig.mds.list({ after: '', limit: 10 })).objects.map(({ name }) => name)).toEqual([
      'other',
      'vol',
    ]);
  });

  test('again with the same name changes nothing', async () => {
    await rig.mds.createObject(createSpec());
    const renamed = await rig.mds.rename({ ref: 'vol', name: 'other' });
    expect(await rig.mds.rename({ ref: renamed.id, name: 'other' })).toEqual(renamed);
  });

  test('refuses a name that is taken, or looks like an id', async () => {
    await rig.mds.createObject(createSpec());
    const other = await rig.mds.createObject(createSpec({ name: 'other' }));
    await failure('EXISTS', rig.mds.rename({ ref: 'other', name: 'vol' }));
    await failure('INVALID', rig.mds.rename({ ref: 'vol', name: testId(1) }));
    expect(await rig.mds.getObj({ ref: 'other' })).toEqual(other);
  });

  test('replaces what has the name in the same step: there is always one of both', async () => {
    await rig.mds.createObject(createSpec());
    const other = await rig.mds.createObject(createSpec({ name: 'other' }));
    const third = await rig.mds.createObject(createSpec({ name: 'third' }));
    const replacing = { ref: 'vol', name: 'other' };
    await failure('CONFLICT', rig.mds.rename({ ...replacing, replaces: third.id }));
    await rig.mds.open({ ref: 'other', mode: 'write', holder: 'a', force: false }, {});
    await failure('BUSY', rig.mds.rename({ ...replacing, replaces: other.id }));
    expect((await rig.mds.stat()).objects).toBe(3);
    rig.clock.advance(600_000);
    // Its writer may only be cut off.
    await failure('BUSY', rig.mds.rename({ ...replacing, replaces: other.id }));
    const { sessionEpoch: unseenSession } = await rig.mds.getObj({ ref: other.id });
    const seen = new Set<string>();
    rig.store.watch('', (events) => {
      for (const { key, value } of events) if (value !== null) seen.add(key);
    });
    const renamed = await rig.mds.rename({ ...replacing, replaces: other.id, unseenSession });
    expect(await rig.mds.getObj({ ref: 'other' })).toEqual(renamed);
    await failure('NOT_FOUND', rig.mds.getObj({ ref: other.id }));
    await failure('NOT_FOUND', rig.mds.getObj({ ref: 'vol' }));
    expect((await rig.mds.stat()).objects).toBe(2);
    // Its OSTs are told.
    expect([...seen].some((key) => key.endsWith(other.id))).toBe(true);
    await failure('NOT_FOUND', rig.mds.rename({ ref: 'third', name: 'other', replaces: other.id }));
    const crossed = [
      { ref: 'third', name: 'other', replaces: renamed.id },
      { ref: 'other', name: 'third', replaces: third.id },
    ];
    const outcomes = await Promise.allSettled(crossed.map((asked) => rig.mds.rename(asked)));
    expect(outcomes.map(({ status }) => status)).toContain('rejected');
    expect((await rig.mds.list({ after: '', limit: 10 })).objects).toHaveLength(1);
    expect((await rig.mds.stat()).objects).toBe(1);
  });

  test('of two to one name one wins', async () => {
    for (const name of ['a', 'b']) await rig.mds.createObject(createSpec({ name }));
    const both = await Promise.allSettled(['a', 'b'].map((ref) => rig.mds.rename({ ref, name: 'c' })));
    expect(both.map((r) => r.status).sort()).toEqual(['fulfilled', 'rejected']);
    expect((await rig.mds.list({ after: '', limit: 10 })).objects).toHaveLength(2);
  });

  test('refuses one that was not closed, its lease lapsed or not: its writer may live', async () => {
    await rig.mds.createObject(createSpec());
    const caller = {};
    const open = { ref: 'vol', mode: 'write' as const, holder: 'a', force: false };
    const { object, sessionEpoch } = await rig.mds.open(open, caller);
    await failure('BUSY', rig.mds.rename({ ref: 'vol', name: 'other' }));
    rig.mds.lost(caller);
    rig.clock.advance(600_000);
    await failure('BUSY', rig.mds.rename({ ref: 'vol', name: 'other' }));
    await rig.mds.close({ id: object.id, sessionEpoch, clean: true });
    expect((await rig.mds.rename({ ref: 'vol', name: 'other' })).clean).toBe(true);
  });
});

describe('create', () => {
  test('gives a clean volume whose OSTs are all in sync, found by name and by id', async () => {
    const made = await rig.mds.createObject(createSpec());
    expect(MDS_METHODS['mds.createObject'].result.parse(made)).toEqual(made);
    expect(made).toMatchObject({
      name: 'vol',
      epoch: 1,
      lastSeal: 0,
      clean: true,
      lease: null,
      lossWallMs: null,
    });
    expect(made.members.map((m) => [m.state, m.bootId, m.staleSince])).toEqual([
      ['in-sync', null, 0],
      ['in-sync', null, 0],
    ]);
    expect(made.members.map((m) => m.ostId)).toEqual(made.map.pool.map((t) => t.ostId));
    expect(await rig.mds.getObj({ ref: 'vol' })).toEqual(made);
    expect(await rig.mds.getObj({ ref: made.id })).toEqual(made);
  });

  test('refuses a name that exists, whatever else is wrong then', async () => {
    await rig.mds.createObject(createSpec());
    const error = await failure('EXISTS', rig.mds.createObject(createSpec({ replicas: 3 })));
    expect(error.exitCode).toBe(73);
    expect((await rig.mds.stat()).objects).toBe(1);
  });

  test('of two at once with one name one wins', async () => {
    const both = await Promise.allSettled([1, 2].map(() => rig.mds.createObject(createSpec())));
    expect(both.map((r) => r.status).sort()).toEqual(['fulfilled', 'rejected']);
    expect((await rig.mds.list({ after: '', limit: 10 })).objects).toHaveLength(1);
    expect((await rig.mds.stat()).objects).toBe(1);
  });

  test('leaves nothing when it cannot be placed', async () => {
    await failure('UNSATISFIABLE', rig.mds.createObject(createSpec({ stripeWidth: 9 })));
    await failure('NOT_FOUND', rig.mds.getObj({ ref: 'vol' }));
    expect(await rig.store.range({ from: 'name/', to: 'object/~' })).toEqual([]);
  });

  test.each([
    ['size 0', { sizeBytes: 0 }, /smallest volume has 512/],
    ['a size off the sectors', { sizeBytes: 1000 }, /nearest: 512 and 1024/],
    ['a size below a sector', { sizeBytes: 5 }, /nearest: 512 bytes/],
    ['a chunk size that is no power of two', { chunkSizeBytes: 3 * MiB }, /nearest: 4 MiB/],
    ['a chunk size too small', { chunkSizeBytes: MiB / 2 }, /nearest: 1 MiB/],
    ['a chunk size of 0', { chunkSizeBytes: 0 }, /nearest: 1 MiB/],
    ['a chunk size too large', { chunkSizeBytes: 16 * TiB }, /nearest: 8 TiB/],
    ['too many chunks', { sizeBytes: 64 * TiB, chunkSizeBytes: MiB }, /at least 4 MiB/],
    ['no replica', { replicas: 0, minReplicas: 0 }, /1 to 3/],
    ['four replicas', { replicas: 4 }, /1 to 3/],
    ['minReplicas above replicas', { minReplicas: 3 }, /minReplicas 3/],
    ['minReplicas 0', { minReplicas: 0 }, /minReplicas 0/],
    ['a stripe thinner than its replicas', { replicas: 3, stripeWidth: 2 }, /3 to 1024/],
    ['a stripe width of 0', { stripeWidth: 0 }, /2 to 1024/],
    ['no failure domain', { failureDomain: '' }, /label/],
    ['a name like an id', { name: testId(1) }, /another name/],
  ])('refuses %s and says what would do', async (_, changes, expected) => {
    const error = await failure('INVALID', rig.mds.createObject(createSpec(changes as object)));
    expect(error.exitCode).toBe(64);
    expect(error.toUserText()).toMatch(expected);
    expect((await rig.mds.stat()).objects).toBe(0);
  });

  test('takes what lies on the limits', async () => {
    const limits = { sizeBytes: LIMITS.volumeSizeBytes, chunkSizeBytes: 256 * MiB };
    const made = await rig.mds.createObject(createSpec(limits));
    expect(made.sizeBytes / made.chunkSizeBytes).toBe(LIMITS.chunksPerObject);
    await rig.mds.createObject(createSpec({ name: 'small', sizeBytes: 512, chunkSizeBytes: 8 * TiB }));
  });
});

describe('list', () => {
  async function all(limit: number): Promise<ObjectInfo[]> {
    const found: ObjectInfo[] = [];
    for (;;) {
      const { objects } = await rig.mds.list({ after: found.at(-1)?.name ?? '', limit });
      if (objects.length === 0) return found;
      found.push(...objects);
    }
  }

  test('walks all objects in the order of names, whatever the page', async () => {
    const character = fc.constantFrom('a', 'b', 'A', '0', '_', '.', '+', '-', ':');
    const name = fc.array(character, { maxLength: 3 }).map((rest) => `x${rest.join('')}`);
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(name, { maxLength: 12 }),
        fc.integer({ min: 1, max: 5 }),
        async (names, limit) => {
          rig = await Rig.start(3);
          for (const one of names) await rig.mds.createObject(createSpec({ name: one }));
          expect((await all(limit)).map((o) => o.name)).toEqual([...names].sort());
        },
      ),
      { numRuns: 30 },
    );
  });

  test('is not ended by objects that are removed while it is made', async () => {
    class Racing extends MemoryStore {
      gone: string[] = [];
      override async get(key: string) {
        return this.gone.includes(key) ? null : super.get(key);
      }
    }
    const store = new Racing();
    rig = await Rig.start(3, store);
    const made = [];
    for (const name of ['a', 'b', 'c']) made.push(await rig.mds.createObject(createSpec({ name })));
    store.gone = made.slice(0, 2).map((o) => `object/${o.id}`);
    expect((await rig.mds.list({ after: '', limit: 2 })).objects.map((o) => o.name)).toEqual(['c']);
  });

  test('answers fit one message however large the pools are', async () => {
    for (let number = 4; number <= 400; number++) {
      const labels = { host: `h${number}`, rack: `rack-${'x'.repeat(240)}-${number}` };
      await rig.mds.registerOst(ostInfo(number, { labels }), rig);
    }
    const wide = { stripeWidth: 'all' as const, failureDomain: 'rack' };
    for (let i = 0; i < 10; i++) await rig.mds.createObject(createSpec({ name: `v${i}`, ...wide }));
    const page = await rig.mds.list({ after: '', limit: 1000 });
    expect(page.objects.length).toBeGreaterThan(1);
    expect(page.objects.length).toBeLessThan(10);
    expect(encodeBody(page).length).toBeLessThan(LIMITS.controlBytes);
    expect(await all(1000)).toHaveLength(10);
  });
});

test('getObjPart gives the placement of chunks, as many as fit a message, to the end', async () => {
  await rig.mds.createObject(createSpec({ sizeBytes: 100 * GiB, chunkSizeBytes: MiB, stripeWidth: 3 }));
  const found: string[][] = [];
  for (;;) {
    const part = await rig.mds.getObjPart({ ref: 'vol', fromChunk: found.length, count: 65536 });
    expect(encodeBody(part).length).toBeLessThan(LIMITS.controlBytes);
    if (part.chunks.length === 0) break;
    found.push(...part.chunks);
  }
  expect(found).toHaveLength(100 * 1024);
  expect(found.every(([a, b]) => a !== b && b !== undefined)).toBe(true);
  const middle = await rig.mds.getObjPart({ ref: 'vol', fromChunk: 777, count: 2 });
  expect(middle.chunks).toEqual(found.slice(777, 779));
});

describe('remove', () => {
  test('removes name and record, tells the OSTs and remembers those that have not confirmed', async () => {
    const made = await rig.mds.createObject(createSpec());
    const [first, second] = made.members.map((m) => m.ostId) as [string, string];
    await rig.mds.remove({ ref: 'vol', force: false });
    await failure('NOT_FOUND', rig.mds.getObj({ ref: 'vol' }));
    await failure('NOT_FOUND', rig.mds.getObj({ ref: made.id }));
    expect(rig.removed).toEqual([{ objectId: made.id, ostIds: [first, second] }]);

    await rig.mds.confirmDeleted({ ostId: first, objects: [made.id, testId(0xdead)] });
    await rig.restart();
    const told = async (ostId: string) => {
      const number = Number.parseInt(ostId.slice(-2), 16);
      return (await rig.mds.registerOst(ostInfo(number), rig)).deletedObjects;
    };
    expect(await told(first)).toEqual([]);
    expect(await told(second)).toEqual([made.id]);
    expect(await told(second)).toEqual([made.id]);
    await rig.mds.confirmDeleted({ ostId: second, objects: [made.id] });
    expect(await told(second)).toEqual([]);
    // That it was removed is remembered: an OST may come up with it later.
    const [kept, ...others] = await rig.store.range({ from: 'tomb/', to: 'tomb0' });
    expect(others).toEqual([]);
    expect(decodeBody(kept!.value)).toEqual({ ostIds: [], wallMs: expect.any(Number) });
  });

  test('frees the name', async () => {
    const first = await rig.mds.createObject(createSpec());
    await rig.mds.remove({ ref: first.id, force: false });
    const second = await rig.mds.createObject(createSpec());
    expect(second.id).not.toBe(first.id);
    expect((await rig.mds.stat()).objects).toBe(1);
  });

  test('is refused while a writer has it, unless forced', async () => {
    await rig.mds.createObject(createSpec());
    const { object, sessionEpoch } = await rig.openFor('writer@host:1');
    const error = await failure('BUSY', rig.mds.remove({ ref: 'vol', force: false }));
    expect(error.toUserText()).toMatch(/writer@host:1.*--force/s);
    await rig.mds.remove({ ref: 'vol', force: true });
    await failure('NOT_FOUND', rig.mds.renew({ id: object.id, sessionEpoch }, {}));
  });

  test('hundreds of confirmations at once', async () => {
    const ids: string[] = [];
    for (let i = 0; i < 300; i++) {
      const { id } = await rig.mds.createObject(createSpec({ name: `v${i}`, replicas: 1, near: 'host1' }));
      ids.push(id);
      await rig.mds.remove({ ref: id, force: false });
    }
    expect((await rig.mds.registerOst(ostInfo(1), rig)).deletedObjects.sort()).toEqual([...ids].sort());
    await rig.mds.confirmDeleted({ ostId: testId(1), objects: ids });
    expect((await rig.mds.registerOst(ostInfo(1), rig)).deletedObjects).toEqual([]);
  });
});

test('what a list has no room for is not read either', async () => {
  const rig = await Rig.start(3);
  for (let i = 0; i < 30; i++) await rig.mds.createObject(createSpec({ name: `v${i}` }));
  const snapshots = Array.from({ length: 480 }, (_, i) => ({
    ...{
      version: i + 1,
      over: i,
      name: `snapshot-of-${i}`,
      sizeBytes: GiB,
      createdWallMs: 1,
      protected: false,
    },
  }));
  const get = rig.store.get.bind(rig.store);
  let reads = 0;
  rig.store.get = async (key) => {
    const entry = await get(key);
    if (entry === null) return null;
    reads++;
    const stored = decodeStored(key, entry.value);
    const object = { ...stored.object, headVersion: 481, headOver: 480, snapshots };
    return { ...entry, value: encodeStored({ ...stored, object }) };
  };
  const { objects } = await rig.mds.list({ after: '', limit: 100 });
  expect(objects.length).toBeGreaterThan(1);
  expect(objects.length).toBeLessThan(29);
  expect(reads).toBeLessThanOrEqual(objects.length + 2);
});
