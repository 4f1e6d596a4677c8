import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { LIMITS } from '../../../src/common/limits.js';
import { GiB, MiB } from '../../../src/common/units.js';
import { newStoredObject, type StoredObject } from '../../../src/mds/stored-object.js';
import { changeVersions } from '../../../src/mds/versions.js';
import {
  mergeable,
  type ObjectRecord,
  objectRecordSchema,
  pendingOf,
  type VersionChange,
  versionsOver,
} from '../../../src/protocol/index.js';
import { createSpec, failure, Rig } from './support.js';

/** The compare-and-swap of versions as a pure function: docs/snapshots.md. */

const facts = { nowWallMs: 1, children: [] as { name: string; version: number }[] };
const SESSION = 5;
let requests = 0;
let opened: StoredObject;

beforeEach(async () => {
  const rig = await Rig.start(3);
  const object = await rig.mds.createObject(createSpec({ sizeBytes: GiB }));
  opened = {
    ...newStoredObject(objectRecordSchema.parse({ ...object, epoch: SESSION })),
    session: { epoch: SESSION, open: true, holder: 'w', sinceWallMs: 0, yields: false },
  };
});

function swap(stored: StoredObject, change: VersionChange, more: Partial<typeof facts> = {}): StoredObject {
  const { id, epoch } = stored.object;
  const requestId = `r${++requests}`;
  const request = { id, sessionEpoch: SESSION, expectedEpoch: epoch, requestId, change };
  return changeVersions(stored, request, { ...facts, ...more }).stored!;
}
const after = (...changes: VersionChange[]) =>
  changes.reduce((stored, change) => swap(stored, change), opened);
const codeOf = (work: () => unknown): string => {
  try {
    work();
    return 'done';
  } catch (error) {
    return (error as { code: string }).code;
  }
};
const tree = ({ object }: StoredObject) => [
  ...object.snapshots.map((one) => [one.version, one.over, one.name]),
  [object.headVersion, object.headOver],
];

describe('a change of versions', () => {
  test('with a new head is a seal, others are none', () => {
    const taken = after({ kind: 'snapshot', name: 'a' });
    expect(taken.object).toMatchObject({ epoch: SESSION + 1, lastSeal: SESSION });
    const renamed = swap(taken, { kind: 'rename', version: 1, name: 'b' });
    expect(renamed.object).toMatchObject({ epoch: SESSION + 2, lastSeal: SESSION });
  });

  test('ahead of the cut is no seal, and no snapshot before that is recorded', () => {
    const ahead = after({ kind: 'snapshot', name: 'a', ahead: true });
    expect(ahead.object).toMatchObject({
      epoch: SESSION + 1,
      lastSeal: opened.object.lastSeal,
      headVersion: 2,
    });
    expect(tree(ahead)).toEqual([
      [1, 0, null],
      [2, 1],
    ]);
    // Nobody merges what is still written, or has it for a snapshot, or takes its name.
    expect(mergeable(ahead.object)).toEqual([]);
    expect(codeOf(() => swap(ahead, { kind: 'forget', versions: [1] }))).toBe('INVALID');
    expect(codeOf(() => swap(ahead, { kind: 'remove', version: 1 }))).toBe('NOT_FOUND');
    expect(codeOf(() => swap(ahead, { kind: 'snapshot', name: 'b' }))).toBe('BUSY');
    expect(codeOf(() => swap(ahead, { kind: 'snapshot', name: 'a' }))).toBe('EXISTS');
    const sealed = swap(ahead, { kind: 'sealed', version: 1 });
    expect(sealed.object.lastSeal).toBe(SESSION + 1);
    expect(tree(sealed)).toEqual([
      [1, 0, 'a'],
      [2, 1],
    ]);
    expect(pendingOf(sealed.object)).toBeNull();
    expect(codeOf(() => swap(sealed, { kind: 'sealed', version: 1 }))).toBe('NOT_FOUND');
  });

  test('that was given up leaves a version without a name, to be merged', () => {
    const ahead = after({ kind: 'snapshot', name: 'a', ahead: true });
    const given = swap(ahead, { kind: 'abandoned', version: 1 });
    expect(pendingOf(given.object)).toBeNull();
    expect(mergeable(given.object)).toEqual([1]);
    expect(given.object.lastSeal).toBe(opened.object.lastSeal);
  });

  test('answers the same request again without a change', () => {
    const change: VersionChange = { kind: 'snapshot', name: 'a' };
    const request = {
      id: opened.object.id,
      sessionEpoch: SESSION,
      expectedEpoch: SESSION,
      requestId: 'x',
      change,
    };
    const first = changeVersions(opened, request, facts);
    expect(changeVersions(first.stored!, request, facts)).toEqual({ stored: null, epoch: first.epoch });
    expect(codeOf(() => changeVersions(first.stored!, { ...request, requestId: 'y' }, facts))).toBe(
      'CONFLICT',
    );
    expect(codeOf(() => changeVersions(opened, { ...request, sessionEpoch: 4 }, facts))).toBe('FENCED');
  });

  test('after a rebuild has to say of whom, and takes that', () => {
    const rebuilt = { ...opened, rebuiltFrom: 3 };
    const { members, id } = opened.object;
    const change: VersionChange = { kind: 'snapshot', name: 'a' };
    const request = { id, sessionEpoch: SESSION, expectedEpoch: 4, requestId: 'x', change };
    expect(codeOf(() => changeVersions(rebuilt, request, facts))).toBe('CONFLICT');
    const bootId = { kernel: 'k', generation: 1 };
    const known = members.map((member) => ({ ...member, bootId }));
    const { stored } = changeVersions(rebuilt, { ...request, members: known }, facts);
    expect(stored!.object.members).toEqual(known);
    expect(stored!.rebuiltFrom).toBeNull();
  });
});

describe('the tree', () => {
  test('of snapshots and rollbacks is as the document draws it', () => {
    const stored = after(
      { kind: 'snapshot', name: 'monday' },
      { kind: 'snapshot', name: 'tuesday' },
      { kind: 'rollback', to: 1, keepAs: 'before' },
    );
    expect(tree(stored)).toEqual([
      [1, 0, 'monday'],
      [2, 1, 'tuesday'],
      [3, 2, 'before'],
      [4, 1],
    ]);
  });

  test('a removed one goes when nothing needs it, and what lay over it lies over what it lay over', () => {
    const stored = after(
      { kind: 'snapshot', name: 'a' },
      { kind: 'snapshot', name: 'b' },
      { kind: 'remove', version: 1 },
    );
    expect(mergeable(stored.object)).toEqual([1]);
    expect(tree(swap(stored, { kind: 'forget', versions: [1] }))).toEqual([
      [2, 0, 'b'],
      [3, 2],
    ]);
    const branched = after(
      { kind: 'snapshot', name: 'a' },
      { kind: 'rollback', to: 1, keepAs: null },
      { kind: 'remove', version: 1 },
    );
    expect(mergeable(branched.object)).toEqual([2]);
    expect(codeOf(() => swap(branched, { kind: 'forget', versions: [1] }))).toBe('BUSY');
    expect(tree(swap(branched, { kind: 'forget', versions: [1, 2] }))).toEqual([[3, 0]]);
  });

  test('named, unknown, protected and cloned versions are refused', () => {
    const stored = after({ kind: 'snapshot', name: 'a' }, { kind: 'snapshot', name: 'b' });
    expect(codeOf(() => swap(stored, { kind: 'snapshot', name: 'a' }))).toBe('EXISTS');
    expect(codeOf(() => swap(stored, { kind: 'rename', version: 1, name: 'b' }))).toBe('EXISTS');
    expect(codeOf(() => swap(stored, { kind: 'rollback', to: 3, keepAs: null }))).toBe('NOT_FOUND');
    expect(codeOf(() => swap(stored, { kind: 'remove', version: 9 }))).toBe('NOT_FOUND');
    expect(codeOf(() => swap(stored, { kind: 'forget', versions: [1] }))).toBe('INVALID');
    const children = [{ name: 'web1', version: 1 }];
    expect(codeOf(() => swap(stored, { kind: 'remove', version: 1 }, { children }))).toBe('BUSY');
    expect(codeOf(() => swap(stored, { kind: 'remove', version: 2 }, { children }))).toBe('done');
    const safe = swap(stored, { kind: 'protect', version: 1, protected: true });
    expect(codeOf(() => swap(safe, { kind: 'remove', version: 1 }))).toBe('BUSY');
  });

  test('has a limit', () => {
    let stored = opened;
    for (let i = 0; i < LIMITS.snapshotsPerVolume; i++)
      stored = swap(stored, { kind: 'snapshot', name: `s${i}` });
    expect(codeOf(() => swap(stored, { kind: 'snapshot', name: 'more' }))).toBe('LIMIT');
  });
});

describe('the size', () => {
  test('of snapshots stays, a rollback brings it back', () => {
    const stored = after({ kind: 'snapshot', name: 'a' }, { kind: 'resize', sizeBytes: 2 * GiB });
    expect(stored.object.snapshots[0]!.sizeBytes).toBe(GiB);
    expect(stored.object.sizeBytes).toBe(2 * GiB);
    expect(swap(stored, { kind: 'rollback', to: 1, keepAs: null }).object.sizeBytes).toBe(GiB);
    expect(codeOf(() => swap(stored, { kind: 'resize', sizeBytes: 1000 }))).toBe('INVALID');
    expect(codeOf(() => swap(stored, { kind: 'resize', sizeBytes: 0 }))).toBe('INVALID');
  });
});

describe('a clone', () => {
  test('is flattened only without snapshots', () => {
    expect(codeOf(() => swap(opened, { kind: 'flattened' }))).toBe('NOT_FOUND');
    const parent = { objectId: opened.object.id, version: 1, name: 'p@s', ostIds: [], sizeBytes: MiB };
    const clone = { ...opened, object: { ...opened.object, parent } };
    const taken = swap(clone, { kind: 'snapshot', name: 'a' });
    expect(codeOf(() => swap(taken, { kind: 'flattened' }))).toBe('BUSY');
    expect(swap(clone, { kind: 'flattened' }).object.parent).toBeNull();
  });
});

/** Whether the versions are a tree in which each lies over a lower one that is there, or over nothing. */
function isTree({ snapshots, headVersion, headOver }: ObjectRecord): boolean {
  const known = new Set([0, ...snapshots.map((one) => one.version)]);
  const sound = snapshots.every((one) => one.over < one.version && known.has(one.over));
  return sound && headOver < headVersion && known.has(headOver) && !known.has(headVersion);
}

test('after any changes versions are a tree, names are unique, and no version is used twice', () => {
  const name = fc.constantFrom('a', 'b', 'c');
  const version = fc.integer({ min: 1, max: 12 });
  const change: fc.Arbitrary<VersionChange> = fc.oneof(
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('snapshot' as const), name }) },
    fc.record({ kind: fc.constant('rollback' as const), to: version, keepAs: fc.option(name) }),
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('remove' as const), version }) },
    fc.record({ kind: fc.constant('rename' as const), version, name }),
    fc.record({ kind: fc.constant('protect' as const), version, protected: fc.boolean() }),
    {
      weight: 2,
      arbitrary: fc.record({ kind: fc.constant('forget' as const), versions: fc.array(version) }),
    },
  );
  fc.assert(
    fc.property(fc.array(change, { maxLength: 40 }), (changes) => {
      let stored = opened;
      const made = new Set([1]);
      for (const one of changes) {
        const before = stored.object;
        if (codeOf(() => swap(stored, one)) !== 'done') continue;
        stored = swap(stored, one);
        const { object } = stored;
        expect(object.epoch).toBe(before.epoch + 1);
        expect(isTree(object)).toBe(true);
        const names = object.snapshots.flatMap((snapshot) => snapshot.name ?? []);
        expect(new Set(names).size).toBe(names.length);
        if (object.headVersion !== before.headVersion) {
          expect(made.has(object.headVersion)).toBe(false);
          made.add(object.headVersion);
        }
        // A snapshot with a name is never lost but by its removal, and lies over the same data.
        for (const was of before.snapshots) {
          if (was.name === null || (one.kind === 'remove' && one.version === was.version)) continue;
          expect(object.snapshots.some((snapshot) => snapshot.version === was.version)).toBe(true);
        }
        for (const gone of mergeable(object))
          expect(versionsOver(object, gone).length).toBeLessThanOrEqual(1);
      }
    }),
    { numRuns: 300 },
  );
});

test('a volume of the MDS takes them from its writer only', async () => {
  const rig = await Rig.start(2);
  await rig.mds.createObject(createSpec());
  const { object, sessionEpoch } = await rig.openFor('w');
  const request = { id: object.id, sessionEpoch, expectedEpoch: object.epoch, requestId: 'q' };
  const change: VersionChange = { kind: 'snapshot', name: 'a' };
  const { object: changed } = await rig.mds.versions.change({ ...request, change });
  expect(changed).toMatchObject({ headVersion: 2, epoch: object.epoch + 1, lastSeal: object.epoch });
  await rig.openFor('x', { force: true });
  const late = { ...request, requestId: 'r', expectedEpoch: changed.epoch, change };
  await failure('FENCED', rig.mds.versions.change(late));
  expect((await rig.mds.versions.change({ ...request, change })).object.epoch).toBe(changed.epoch);
});
