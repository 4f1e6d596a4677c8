import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { RawstorError } from '../../../src/common/errors.js';
import { GiB, MiB } from '../../../src/common/units.js';
import { type DumpedMds, EPOCH_STEP, MemoryStore, makePlan, type OstScan } from '../../../src/mds/index.js';
import { Osts } from '../../../src/mds/osts.js';
import { firstEpoch } from '../../../src/mds/rebuild/judge.js';
import { fillStore } from '../../../src/mds/rebuild/write.js';
import {
  isLossUntold,
  newObjectRecord,
  newStoredObject,
  type StoredObject,
} from '../../../src/mds/stored-object.js';
import type { ChunkMap, KeptObject, Member, ObjectRecord, StoredSet } from '../../../src/protocol/index.js';
import { createSpec, failure as failed, ManualClock, ostInfo, Rig, testId } from './support.js';

const CLUSTER = testId(0xc1);
const NOW = 1_800_000_000_000;
/** Above what the clock gives. */
const FAR = firstEpoch(0, NOW) + 10 * EPOCH_STEP;
const BOOT = { kernel: 'k', generation: 1 };

function map(osts: readonly number[], rule: ChunkMap['rule'] = 'fixed'): ChunkMap {
  const pool = osts.map((number) => ({ ostId: testId(number), weight: 1, domain: `host${number}` }));
  return { rule, pool, nearDomain: '', exceptions: [] };
}

function record(id: number, osts: readonly number[], change: Partial<ObjectRecord> = {}): ObjectRecord {
  const spec = createSpec({ name: `v${id}`, replicas: Math.min(3, osts.length) });
  return { ...newObjectRecord(testId(id), spec, map(osts), 1000 + id), ...change };
}

/** In sync, and since when the others are stale. */
function members(inSync: readonly number[], stale: Record<number, number> = {}): Member[] {
  return [
    ...inSync.map((n): Member => ({ ostId: testId(n), state: 'in-sync', bootId: BOOT, staleSince: 0 })),
    ...Object.entries(stale).map(
      ([n, staleSince]): Member => ({ ostId: testId(Number(n)), state: 'stale', bootId: BOOT, staleSince }),
    ),
  ];
}

function kept(of: ObjectRecord, change: Partial<KeptObject> = {}): KeptObject {
  return {
    id: of.id,
    removedWallMs: null,
    record: of,
    set: null,
    lastSeal: 0,
    lossWallMs: null,
    fence: null,
    regionEpoch: 0,
    ...change,
  };
}

function gone(id: number): KeptObject {
  return kept(record(id, [1]), { record: null, removedWallMs: 5 });
}

function scan(ost: number, objects: readonly KeptObject[], change: Partial<OstScan> = {}): OstScan {
  return { info: ostInfo(ost), clusterId: CLUSTER, process: `ost${ost}`, objects, ...change };
}

const plan = (scans: readonly OstScan[], dump: DumpedMds | null = null, restoreDoubtful = false) =>
  makePlan(scans, dump, { silent: [], restoreDoubtful, nowWallMs: NOW });

const failure = (act: () => unknown): RawstorError => {
  try {
    act();
  } catch (error) {
    if (error instanceof RawstorError) return error;
    throw error;
  }
  throw new Error('it did not fail');
};

const states = (of: readonly Member[]) =>
  Object.fromEntries(of.map(({ ostId, state, staleSince }) => [ostId.at(-1), [state, staleSince]]));

test('epochs are above all seen, and rise with time where nothing was', () => {
  expect(firstEpoch(0, Date.UTC(2020, 0, 1))).toBe(EPOCH_STEP);
  expect(firstEpoch(EPOCH_STEP - 1, 0)).toBe(EPOCH_STEP);
  expect(firstEpoch(EPOCH_STEP, 0)).toBe(2 * EPOCH_STEP);
  expect(firstEpoch(5, NOW + 1000)).toBe(firstEpoch(5, NOW) + EPOCH_STEP);
  expect(firstEpoch(FAR, NOW)).toBe(FAR + EPOCH_STEP);
  expect(Number.isSafeInteger(firstEpoch(0, Date.UTC(2088, 0, 1)) + EPOCH_STEP)).toBe(true);
});

describe('one object', () => {
  test('gets the set of the highest epoch, and is unclean', () => {
    const v = record(0x10, [1, 2]);
    const { objects, findings } = plan([
      scan(1, [kept(v, { set: { epoch: 7, members: members([1], { 2: 4 }) }, lastSeal: 3 })]),
      scan(2, [kept(v, { set: { epoch: 5, members: members([1, 2]) }, lastSeal: 2 })]),
    ]);
    expect(findings).toMatchObject([{ fate: 'restored', why: '' }]);
    expect(objects[0]).toMatchObject({ clean: false, lossWallMs: null, object: { lastSeal: 3 } });
    expect(states(objects[0]!.object.members)).toEqual({ 1: ['in-sync', 0], 2: ['stale', 4] });
  });

  test('a record that an attach brought counts as a set does', () => {
    const v = record(0x10, [1, 2]);
    const later = { ...v, epoch: 9, lastSeal: 6, members: members([2], { 1: 7 }) };
    const { objects } = plan([
      scan(1, [kept(v, { set: { epoch: 8, members: members([1, 2]) } })]),
      scan(2, [kept(later, { set: { epoch: 8, members: members([1, 2]) } })]),
    ]);
    expect(states(objects[0]!.object.members)).toEqual({ 1: ['stale', 7], 2: ['in-sync', 0] });
  });

  test.each([
    ['a record', { record: record(0x10, [1], { epoch: FAR + 5 }) }],
    ['a set', { set: { epoch: FAR + 5, members: members([1]) } }],
    ['a fence', { fence: { sessionEpoch: FAR + 5, sessionNumber: 3 } }],
    ['a region', { regionEpoch: FAR + 5 }],
  ])('gets an epoch well above that of %s', (_what, change) => {
    const { objects } = plan([scan(1, [kept(record(0x10, [1]), change)])]);
    expect(objects[0]!.object.epoch).toBe(FAR + EPOCH_STEP);
  });

  test('is the session that was fenced last', () => {
    const v = record(0x10, [1, 2]);
    const { objects } = plan([
      scan(1, [kept(v, { fence: { sessionEpoch: 4, sessionNumber: 9 } })]),
      scan(2, [kept(v, { fence: { sessionEpoch: 6, sessionNumber: 1 } })]),
    ]);
    expect(objects[0]).toMatchObject({ rebuiltFrom: 1, session: { epoch: 6, open: true } });
  });

  test('keeps the mark of a loss', () => {
    const set = { epoch: 5, members: members([1]) };
    const { objects } = plan([scan(1, [kept(record(0x10, [1]), { set, lossWallMs: 77 })])]);
    expect(objects[0]!.lossWallMs).toBe(77);
    // Nobody knows whether the guest was told: the next gateway tells it.
    expect(isLossUntold(objects[0]!)).toBe(true);
  });

  test('of claims of one epoch, what makes more be copied counts', () => {
    const v = record(0x10, [1, 2, 3]);
    const { objects } = plan([
      scan(1, [kept(v, { set: { epoch: 7, members: members([1, 2], { 3: 6 }) }, lastSeal: 5 })]),
      scan(2, [kept(v, { set: { epoch: 7, members: members([1, 2], { 3: 2 }) }, lastSeal: 4 })]),
      scan(3, [kept(v)]),
    ]);
    expect(objects[0]!.object.lastSeal).toBe(4);
    expect(states(objects[0]!.object.members)[3]).toEqual(['stale', 2]);
  });

  test.each([
    ['sets of one epoch', { set: { epoch: 5, members: members([1]) } }, /sets of one epoch/],
    ['chunk sizes', { record: record(0x10, [1, 2], { chunkSizeBytes: MiB }) }, /chunkSizeBytes/],
    ['sizes of one epoch', { record: record(0x10, [1, 2], { sizeBytes: GiB }) }, /sizeBytes/],
  ])('is contradictory when %s differ', (_what, change, why) => {
    const v = record(0x10, [1, 2]);
    const set = { epoch: 5, members: members([2]) };
    for (const restore of [false, true]) {
      const made = plan([scan(1, [kept(v, change)]), scan(2, [kept(v, { set })])], null, restore);
      expect(made.findings[0]).toMatchObject({ fate: 'contradictory' });
      expect(made.findings[0]!.why).toMatch(why);
      expect(made.objects).toEqual([]);
    }
  });
});

describe('an OST that does not answer', () => {
  const v = record(0x10, [1, 2]);
  const set = { epoch: 7, members: members([1, 2]) };

  test('may have newer data: the volume is marked, and nothing of it is trusted', () => {
    const { objects, findings, missing } = plan([scan(1, [kept(v, { set, lastSeal: 5 })])]);
    expect(missing).toEqual([testId(2)]);
    expect(findings[0]).toMatchObject({ fate: 'loss', why: expect.stringContaining(testId(2)) });
    expect(objects[0]).toMatchObject({ lossWallMs: NOW, object: { lastSeal: 5 } });
    expect(states(objects[0]!.object.members)).toEqual({ 1: ['in-sync', 0], 2: ['stale', 0] });
  });

  test('is no matter to a volume that had dropped it', () => {
    const dropped = { epoch: 8, members: members([1], { 2: 6 }) };
    const { objects, findings } = plan([scan(1, [kept(v, { set: dropped, lastSeal: 5 })])]);
    expect(findings[0]!.fate).toBe('restored');
    expect(objects[0]!.lossWallMs).toBeNull();
  });

  test('keeps a volume away of which it has the only whole replica', () => {
    const receiving = { ...v, epoch: 9, members: members([2], { 1: 6 }) };
    const { objects, findings } = plan([scan(1, [kept(receiving)])]);
    expect(findings[0]!.fate).toBe('missing');
    expect(objects).toEqual([]);
  });

  test('keeps a spread volume away only where a chunk is nowhere else', () => {
    const wide = (replicas: number) => record(0x10, [1, 2, 3], { replicas, map: map([1, 2, 3], 'hash') });
    for (const [replicas, fate] of [
      [1, 'missing'],
      [2, 'loss'],
    ] as const) {
      const of = kept(wide(replicas), { set: { epoch: 5, members: members([1, 2, 3]) } });
      expect(plan([scan(1, [of]), scan(2, [of])]).findings[0]!.fate).toBe(fate);
    }
  });
});

describe('a removed object', () => {
  test('stays away when one OST remembers; who holds it, or may, is told', () => {
    const v = record(0x10, [1, 2]);
    const other = record(0x11, [2, 3]);
    const made = plan([scan(1, [gone(0x10)]), scan(2, [kept(v), kept(other)])]);
    expect(made.findings.map(({ name, fate }) => [name, fate])).toEqual([
      ['v16', 'removed'],
      ['v17', 'loss'],
    ]);
    expect(made.objects.map(({ object }) => object.name)).toEqual(['v17']);
    // OST 3 is missing: it may have the removed one as well.
    expect(made.tombstones).toEqual([{ objectId: testId(0x10), ostIds: [testId(2), testId(3)] }]);
  });

  test('is not removed because an OST that it was moved away from remembers', () => {
    const made = plan([scan(1, [kept(record(0x10, [1]))]), scan(2, [gone(0x10)])]);
    expect(made.findings[0]!.fate).toBe('restored');
    expect(made.tombstones).toEqual([]);
  });

  test('is doubtful when the OST that should have it has no trace', () => {
    const v = record(0x10, [1, 2]);
    const set = { epoch: 7, members: members([1, 2]) };
    const scans = [scan(1, [kept(v, { set })]), scan(2, [])];
    expect(plan(scans)).toMatchObject({ findings: [{ fate: 'doubtful' }], objects: [] });
    const { objects } = plan(scans, null, true);
    // What OST 2 has is nothing: it must not be read.
    expect(states(objects[0]!.object.members)).toEqual({ 1: ['in-sync', 0], 2: ['stale', 0] });
  });
});

test('of two objects with one name the newer keeps it', () => {
  const old = record(0x10, [1], { name: 'v', createdWallMs: 5 });
  const newer = record(0x11, [1], { name: 'v', createdWallMs: 9 });
  const third = record(0x12, [1], { name: `v.${testId(0x10).slice(-8)}`, createdWallMs: 1 });
  const made = plan([scan(1, [kept(old), kept(newer), kept(third)])]);
  const names = Object.fromEntries(made.objects.map(({ object }) => [object.id, object.name]));
  expect(names[newer.id]).toBe('v');
  expect(names[third.id]).toBe(third.name);
  expect(names[old.id]).toBe('v.00000010.2');
  expect(made.renamed).toEqual(new Map([[old.id, 'v.00000010.2']]));
});

describe('what cannot be one cluster', () => {
  test('OSTs of two', () => {
    const error = failure(() => plan([scan(1, []), scan(2, [], { clusterId: testId(0xc2) })]));
    expect(error.exitCode).toBe(65);
    expect(error.where).toContain(testId(2));
  });
  test('a dump of another', () => {
    const dump = { clusterId: testId(0xc2), osts: [], objects: [], removed: [], left: [], catalog: null };
    expect(failure(() => plan([scan(1, [])], dump)).code).toBe('BAD_DATA');
  });
  test('OSTs that were never in one', () => {
    expect(failure(() => plan([scan(1, [], { clusterId: '' })])).code).toBe('BAD_DATA');
  });
  test('two servers on copies of one directory; but not one at two addresses', () => {
    expect(plan([scan(1, []), scan(1, [])]).osts).toHaveLength(1);
    expect(failure(() => plan([scan(1, []), scan(1, [], { process: 'copy' })])).code).toBe('BAD_DATA');
  });
});

describe('a dump as one more witness', () => {
  const v = record(0x10, [1, 2]);
  const dumped = (change: Partial<ObjectRecord>, lossWallMs: number | null = null): DumpedMds => {
    const stored = { ...newStoredObject({ ...v, ...change }), lossWallMs };
    const osts = [ostInfo(1), ostInfo(2)];
    return { clusterId: CLUSTER, osts, objects: [stored], removed: [], left: [], catalog: null };
  };
  const now = { epoch: 7, members: members([1], { 2: 4 }) };
  const scans = [scan(1, [kept(v, { set: now, lastSeal: 3 })]), scan(2, [kept(v)])];

  test('of long ago it does not bring a dropped replica back', () => {
    const { objects } = plan(scans, dumped({ epoch: 5, members: members([1, 2]) }));
    expect(states(objects[0]!.object.members)).toEqual({ 1: ['in-sync', 0], 2: ['stale', 4] });
    expect(objects[0]!.object.epoch).toBe(firstEpoch(0, NOW));
  });
  test('of just now it knows of a drop that no OST had stored', () => {
    const { objects } = plan(scans, dumped({ epoch: 8, members: members([1], { 2: 2 }) }));
    expect(states(objects[0]!.object.members)[2]).toEqual(['stale', 2]);
  });
  test('knows that a loss was acknowledged since', () => {
    const lost = [scan(1, [kept(v, { set: now, lossWallMs: 5 })]), scan(2, [kept(v)])];
    expect(plan(lost, dumped({ epoch: 9, members: now.members })).objects[0]!.lossWallMs).toBeNull();
    expect(plan(lost, dumped({ epoch: 6, members: now.members })).objects[0]!.lossWallMs).toBe(5);
  });
  test('alone it brings nothing back', () => {
    const made = plan([scan(1, []), scan(2, [])], dumped({}), true);
    expect(made).toMatchObject({ findings: [{ fate: 'doubtful' }], objects: [] });
    expect(plan([scan(1, [])], dumped({})).findings[0]!.fate).toBe('missing');
  });
  test('knows of removals, and of where OSTs were', () => {
    const removed = [{ objectId: v.id, ostIds: [testId(2)] }];
    const made = plan([scan(1, [kept(v)])], { ...dumped({}), objects: [], removed });
    expect(made).toMatchObject({ findings: [{ fate: 'removed' }], objects: [] });
    expect(made.tombstones[0]!.ostIds).toContain(testId(1));
    expect(made.osts.map(({ ostId }) => ostId).sort()).toEqual([testId(1), testId(2)]);
  });
});

describe('moves', () => {
  const v = record(0x10, [1, 2]);
  const wanted = { id: testId(0x77), from: testId(1), to: testId(3), map: map([3, 2]), sinceWallMs: 5 };
  const dump = (change: Partial<StoredObject> = {}): DumpedMds => ({
    clusterId: CLUSTER,
    osts: [ostInfo(1), ostInfo(2), ostInfo(3)],
    objects: [{ ...newStoredObject(v), wanted, ...change }],
    removed: [],
    left: [],
    catalog: null,
  });
  const both = [scan(1, [kept(v)]), scan(2, [kept(v)])];

  test('that were wanted at the dump are wanted still, and what the new OST has of it is kept', () => {
    const { objects } = plan([...both, scan(3, [kept(v)])], dump());
    expect(objects[0]).toMatchObject({ wanted, left: [] });
  });
  test('that have ended since are not, and the old copy is deleted', () => {
    const moved = record(0x10, [3, 2], { epoch: 9, members: members([3, 2]) });
    const scans = [scan(1, [kept(v)]), scan(2, [kept(moved)]), scan(3, [kept(moved)])];
    expect(plan(scans, dump()).objects[0]).toMatchObject({ wanted: null, left: [testId(1)] });
    // By the OSTs alone as well.
    expect(plan(scans).objects[0]).toMatchObject({ wanted: null, left: [testId(1)] });
    // Where the old one is gone for good it is not missed.
    expect(plan(scans.slice(1)).missing).toEqual([]);
  });
  test('that nobody knows of any more leave nothing behind', () => {
    const scans = [...both, scan(3, [kept(v)])];
    expect(plan(scans).objects[0]).toMatchObject({ wanted: null, left: [testId(3)] });
  });
  test('leave copies on OSTs that do not answer, which are told later', () => {
    const left = [
      { ostId: testId(3), objectId: v.id, epoch: 4 },
      { ostId: testId(4), objectId: v.id, epoch: 4 },
      { ostId: testId(1), objectId: v.id, epoch: 4 },
    ];
    const made = plan([...both, scan(3, [])], { ...dump({ wanted: null, left: [testId(5)] }), left });
    // 3 has deleted it, 1 has it again.
    expect(made.left).toEqual([left[1]]);
    expect(made.objects[0]!.left).toEqual([testId(5)]);
  });
  test('marks of OSTs stay: draining ones get nothing new, removed ones do not come back', async () => {
    const osts = [
      { ...ostInfo(1), draining: true },
      { ...ostInfo(9), removed: true },
    ];
    const made = plan(both, { ...dump(), osts });
    const store = new MemoryStore();
    await fillStore(store, made, NOW);
    const known = new Osts({ store, clock: new ManualClock(), time: new ManualClock() });
    await known.start();
    expect(known.list().map(({ info, draining }) => [info.ostId, draining])).toEqual([
      [testId(1), true],
      [testId(2), false],
    ]);
    await expect(known.register(ostInfo(9), {})).rejects.toMatchObject({ code: 'DENIED' });
  });
});

test('whatever happened before, and whoever answers: no volume is simply restored on a replica that lacks an acknowledged write', () => {
  const OSTS = [1, 2, 3];
  const step = fc.record({
    kind: fc.constantFrom('open', 'drop', 'join', 'write'),
    who: fc.subarray(OSTS),
    reached: fc.subarray(OSTS),
  });
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 25 }),
      fc.subarray(OSTS, { minLength: 1 }),
      (steps, answering) => {
        let set: StoredSet = { epoch: 1, members: members(OSTS) };
        let inSync = [...OSTS];
        let written = 0;
        const has = new Map(OSTS.map((n) => [n, 0]));
        const on = new Map(OSTS.map((n) => [n, kept(record(0x10, OSTS))]));
        const store = (n: number) => on.set(n, { ...on.get(n)!, set });
        const change = (next: number[], reached: readonly number[]) => {
          inSync = next;
          const stale = Object.fromEntries(OSTS.filter((n) => !next.includes(n)).map((n) => [n, 1]));
          set = { epoch: set.epoch + 1, members: members(next, stale) };
          for (const n of reached) if (next.includes(n)) store(n);
        };
        for (const { kind, who, reached } of steps) {
          if (kind === 'open') {
            // Attaches bring the record to those in sync, and to those that are to be copied to.
            set = { ...set, epoch: set.epoch + 1 };
            const fence = { sessionEpoch: set.epoch, sessionNumber: 1 };
            for (const n of reached)
              on.set(n, kept({ ...record(0x10, OSTS), ...set }, { set: on.get(n)!.set, fence }));
          } else if (kind === 'drop') {
            const left = inSync.filter((n) => !who.includes(n));
            if (left.length > 0) change(left, reached);
          } else if (kind === 'join') {
            const joining = who.find((n) => !inSync.includes(n));
            if (joining === undefined) continue;
            has.set(joining, written);
            // All others have to store that it will, or it does not come to that.
            for (const n of inSync) {
              set = { ...set, joining: [testId(joining)] };
              store(n);
            }
            change([...inSync, joining].sort(), reached);
          } else {
            // Acknowledged only when all in sync have it, and have stored the set.
            for (const n of inSync) store(n);
            written++;
            for (const n of inSync) has.set(n, written);
          }
        }
        const { findings, objects } = plan(answering.map((n) => scan(n, [on.get(n)!])));
        if (findings[0]!.fate !== 'restored') return answering.length < OSTS.length;
        const trusted = objects[0]!.object.members.filter(({ state }) => state === 'in-sync');
        return trusted.every(({ ostId }) => has.get(Number(ostId.at(-1))) === written);
      },
    ),
    { numRuns: 10_000 },
  );
});

describe('an OST that did not answer', () => {
  const silent = [testId(8), testId(9)];
  const planOf = (objects: readonly KeptObject[]) =>
    makePlan([scan(1, objects)], null, { silent, restoreDoubtful: false, nowWallMs: NOW });

  const one = record(0x11, [1], { members: members([1]), epoch: 3 });
  const joining: StoredSet = { epoch: 4, members: members([1]), joining: [testId(8)] };
  const parent = { objectId: testId(0x77), version: 1, name: 'p@s', ostIds: [testId(8)], sizeBytes: GiB };
  test.each<[string, KeptObject, readonly string[]]>([
    ['is named by nobody', kept(one), silent],
    ['is a place', kept(record(0x11, [1, 8], { members: members([1, 8]) })), [testId(9)]],
    ['is stale', kept(record(0x11, [1], { members: members([1], { 8: 2 }) })), [testId(9)]],
    ['is joining', kept(one, { set: joining }), [testId(9)]],
    ['has the parent', kept({ ...one, parent }), [testId(9)]],
    ['had what was removed', gone(0x11), silent],
  ])('%s', (_what, object, unreferred) => {
    expect(planOf([object])).toMatchObject({ missing: silent, unreferred });
  });
});

test('a clone that stays out keeps what it lies over from being removed', async () => {
  const snapshot = { version: 1, over: 0, name: 's', sizeBytes: GiB, createdWallMs: 0, protected: false };
  const golden = record(0x31, [1, 2], {
    members: members([1, 2]),
    headVersion: 2,
    headOver: 1,
    snapshots: [snapshot],
  });
  const over = { objectId: golden.id, version: 1, name: 'v49@s', ostIds: [testId(1), testId(2)] };
  const clone = record(0x32, [1, 2], {
    members: members([2], { 1: 5 }),
    parent: { ...over, sizeBytes: GiB },
  });
  const found = plan([scan(1, [kept(golden), kept(clone)])]);
  expect(found.findings.map(({ fate }) => fate)).toEqual(['loss', 'missing']);
  const store = new MemoryStore();
  await fillStore(store, found, NOW);
  const rig = await Rig.start(2, store);
  const { children } = await rig.mds.versions.children({ ref: golden.name });
  expect(children).toEqual([{ id: clone.id, version: 1, name: clone.name }]);
  await failed('BUSY', rig.mds.remove({ ref: golden.name, force: false }));
});
