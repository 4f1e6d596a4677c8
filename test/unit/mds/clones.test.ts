import { beforeEach, describe, expect, test } from 'vitest';
import { absentChild, childrenOf } from '../../../src/mds/children.js';
import { parseDump } from '../../../src/mds/index.js';
import { fillStore } from '../../../src/mds/rebuild/write.js';
import { MemoryStore } from '../../../src/mds/store-memory.js';
import type { ObjectInfo, VersionChange } from '../../../src/protocol/index.js';
import { dumpText } from './dump-text.js';
import { createSpec, failure, ostInfo, Rig, testId } from './support.js';

/** Clones, and wishes that holders are asked for, over a store in memory. */

let rig: Rig;
let requests = 0;
beforeEach(async () => {
  rig = await Rig.start(3);
  await rig.mds.createObject(createSpec());
});

/** As its writer does, which is closed afterwards. */
async function change(ref: string, wanted: VersionChange): Promise<ObjectInfo> {
  const { object, sessionEpoch } = await rig.openFor('w', { ref });
  const request = { id: object.id, sessionEpoch, expectedEpoch: object.epoch, requestId: `c${++requests}` };
  try {
    return (await rig.mds.versions.change({ ...request, change: wanted })).object;
  } finally {
    await rig.mds.close({ id: object.id, sessionEpoch, clean: true });
  }
}
const snapshot = (ref: string, name: string) => change(ref, { kind: 'snapshot', name });
const clone = (ref: string, version: number, name: string, more: object = {}) =>
  rig.mds.versions.clone({ ref, version, name, ...more });
const inSync = (ostId: string) => ({
  ostId,
  state: 'in-sync' as const,
  bootId: { kernel: 'k', generation: 1 },
  staleSince: 0,
});
/** What an OST is told to delete. */
const toDelete = async (number: number) =>
  (await rig.mds.registerOst(ostInfo(number), rig)).leftObjects.map(({ id }) => id);

/** The volume's writer takes another OST in the place of one. */
async function move(ref: string, from: string): Promise<string> {
  const { id } = await rig.mds.getObj({ ref });
  const { wanted } = await rig.mds.moves.move({ id, from, to: null, dryRun: false });
  const { object, sessionEpoch } = await rig.openFor('w', { ref });
  const staying = object.members.filter((member) => member.ostId !== from).map(({ ostId }) => inSync(ostId));
  await rig.mds.changeMembers({
    id,
    sessionEpoch,
    expectedEpoch: object.epoch,
    requestId: `m${++requests}`,
    members: [...staying, inSync(wanted.to)],
    loss: false,
    adopt: wanted.id,
  });
  await rig.mds.moves.moveStored({ id, sessionEpoch, ostIds: [from] });
  await rig.mds.close({ id, sessionEpoch, clean: true });
  return wanted.to;
}

describe('a clone', () => {
  test('is on the OSTs of its parent, with its policies, placed like it', async () => {
    const parent = await snapshot('vol', 's');
    const made = await clone('vol', 1, 'c', { onDegraded: 'error' });
    expect(made).toMatchObject({ name: 'c', headVersion: 1, snapshots: [], onDegraded: 'error', epoch: 1 });
    expect(made.map).toEqual(parent.map);
    expect(made.placeAs).toBe(parent.id);
    const ostIds = parent.members.map(({ ostId }) => ostId);
    const { sizeBytes } = parent;
    expect(made.parent).toEqual({ objectId: parent.id, version: 1, name: 'vol@s', ostIds, sizeBytes });
    await snapshot('c', 't');
    expect(await clone('c', 1, 'cc')).toMatchObject({ placeAs: parent.id, parent: { name: 'c@t' } });
    expect((await rig.mds.versions.children({ ref: 'vol' })).children).toMatchObject([
      { name: 'c', version: 1 },
    ]);
  });

  test('knows what its OSTs kept of the parent then, and shares no copy that its writer found to be older', async () => {
    const { version } = (await snapshot('vol', 'monday')).snapshots[0]!;
    const { object: parent, sessionEpoch } = await rig.openFor('w');
    const kept = parent.members.map(({ ostId }, i) => ({ ...inSync(ostId), keptEpoch: 2 + i }));
    await rig.mds.close({ id: parent.id, sessionEpoch, clean: true, members: kept });
    await clone('vol', version, 'c');
    const [older, ...others] = kept.map(({ ostId }) => ostId);
    const { object, sessionEpoch: epoch } = await rig.openFor('w', { ref: 'c' });
    expect(object.parent).toMatchObject({
      ostIds: kept.map(({ ostId }) => ostId),
      keptEpochs: Object.fromEntries(kept.map(({ ostId, keptEpoch }) => [ostId, keptEpoch])),
    });
    await rig.mds.changeMembers({
      id: object.id,
      sessionEpoch: epoch,
      expectedEpoch: object.epoch,
      requestId: `d${++requests}`,
      members: [{ ...inSync(older!), state: 'stale', keptEpoch: 0 }, ...others.map(inSync)],
      loss: false,
      withoutParent: [older!],
    });
    const after = await rig.mds.getObj({ ref: 'c' });
    expect(after.parent!.ostIds).toEqual(others);
    expect(after.members[0]).toMatchObject({ ostId: older, state: 'stale', staleSince: 0 });
  });

  test('is stale where its parent is', async () => {
    const { object, sessionEpoch } = await rig.openFor('w');
    const [first, second] = object.members.map(({ ostId }) => ostId);
    const swap = { id: object.id, sessionEpoch, expectedEpoch: object.epoch, requestId: 'x' };
    await rig.mds.changeMembers({ ...swap, members: [inSync(first!)], loss: false });
    await rig.mds.close({ id: object.id, sessionEpoch, clean: true });
    await snapshot('vol', 's');
    const made = await clone('vol', 1, 'c');
    expect(made.parent!.ostIds).toEqual([first]);
    expect(made.members).toMatchObject([
      { ostId: first, state: 'in-sync' },
      { ostId: second, state: 'stale', staleSince: 0 },
    ]);
  });

  test('is made of a snapshot that has a name, under a name that is free', async () => {
    await snapshot('vol', 's');
    await failure('NOT_FOUND', clone('vol', 2, 'c'));
    await failure('EXISTS', clone('vol', 1, 'vol'));
    await failure('INVALID', clone('vol', 1, 'c', { minReplicas: 3 }));
    await change('vol', { kind: 'remove', version: 1 });
    await failure('NOT_FOUND', clone('vol', 1, 'c'));
  });

  test('keeps its snapshot and its parent until it is flattened or removed', async () => {
    await snapshot('vol', 's');
    await clone('vol', 1, 'c');
    const error = await failure('BUSY', change('vol', { kind: 'remove', version: 1 }));
    expect(error.message).toContain('c');
    await failure('BUSY', rig.mds.remove({ ref: 'vol', force: true }));
    await change('c', { kind: 'flattened' });
    expect(await childrenOf(rig.store, (await rig.mds.getObj({ ref: 'vol' })).id)).toEqual([]);
    await failure('BUSY', rig.mds.remove({ ref: 'vol', force: true }));
    await change('vol', { kind: 'remove', version: 1 });
    await rig.mds.remove({ ref: 'vol', force: false });
    await snapshot('c', 't');
    await clone('c', 1, 'cc');
    await rig.mds.remove({ ref: 'cc', force: false });
    await change('c', { kind: 'remove', version: 1 });
    await rig.mds.remove({ ref: 'c', force: false });
  });

  test('and its parent are not separated by a removal at the same time', async () => {
    await snapshot('vol', 's');
    const both = await Promise.allSettled([
      clone('vol', 1, 'c'),
      change('vol', { kind: 'remove', version: 1 }),
    ]);
    expect(both.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  });

  test('has its OSTs keep the copies it lies over, after the parent has moved', async () => {
    await rig.registerOsts(4);
    const parent = await snapshot('vol', 's');
    await clone('vol', 1, 'c');
    const from = parent.members[0]!.ostId;
    const number = [1, 2, 3, 4].find((one) => testId(one) === from)!;
    await move('vol', from);
    expect(await toDelete(number)).toEqual([]);
    await rig.restart();
    // Ids are of the time and of the random numbers, which begin anew.
    rig.clock.advance(10);
    await rig.registerOsts(4);
    expect(await toDelete(number)).toEqual([]);
    await snapshot('c', 't');
    const grandchild = await clone('c', 1, 'cc');
    expect(grandchild.parent!.ostIds).toContain(from);
    await move('c', from);
    expect((await rig.mds.getObj({ ref: 'c' })).parent!.ostIds).not.toContain(from);
    // What the clone left there is needed by the clone's clone, and what it lies over with it.
    expect(await toDelete(number)).toEqual([]);
    await change('cc', { kind: 'flattened' });
    const { id } = await rig.mds.getObj({ ref: 'c' });
    expect((await toDelete(number)).sort()).toEqual([parent.id, id].sort());
  });

  test('is found again by a new MDS that is made of a dump', async () => {
    const parent = await snapshot('vol', 's');
    const made = await clone('vol', 1, 'c');
    const { lines } = await rig.mds.dump({ after: '' });
    const dumped = parseDump(Buffer.from(dumpText(testId(0xc1), lines, 1)), 'dump');
    const store = new MemoryStore();
    const none = {
      findings: [],
      renamed: new Map(),
      missing: [],
      unreferred: [],
      tombstones: [],
      lostCatalog: null,
    };
    await fillStore(store, { ...dumped, ...none }, 1);
    expect(await childrenOf(store, parent.id)).toEqual([{ id: made.id, version: 1, absentName: null }]);
  });

  test('that stayed out of a rebuild holds its snapshot until the OSTs that may have it are gone for good', async () => {
    await rig.registerOsts(5);
    const { id } = await snapshot('vol', 's');
    const parent = { objectId: id, version: 1, name: 'vol@s', sizeBytes: 0 };
    const absent = (number: number, name: string, ostIds: string[]) =>
      absentChild(testId(number), name, { ...parent, ostIds });
    const puts = [absent(0xa1, 'lone', [testId(4)]), absent(0xa2, 'wide', [testId(4), testId(5)])];
    await rig.store.transact({ checks: [], puts });
    const remove = () => change('vol', { kind: 'remove', version: 1 });
    const blocking = async () => (await failure('BUSY', remove())).message;
    expect(await blocking()).toContain('lone, wide');
    const refused = await failure('BUSY', rig.mds.moves.removeOst({ ostId: testId(4) }));
    expect(refused.where).toBe('lone, wide');
    await rig.mds.moves.removeOst({ ostId: testId(4), lost: true });
    expect(await blocking()).toBe('a clone needs it: wide');
    await rig.mds.moves.removeOst({ ostId: testId(5), lost: true });
    expect((await remove()).snapshots).toMatchObject([{ version: 1, name: null }]);
  });
});

describe('a holder is asked', () => {
  const ask = (wanted: VersionChange, timeoutMs = 5000, caller: object = {}) =>
    rig.mds.versions.ask({ ref: 'vol', change: wanted, timeoutMs }, caller);
  const wish: VersionChange = { kind: 'snapshot', name: 's' };
  const turn = () => new Promise((resolve) => setImmediate(resolve));
  const taken = (object: ObjectInfo, sessionEpoch: number, askedId: string) =>
    rig.mds.versions.change({
      id: object.id,
      sessionEpoch,
      expectedEpoch: object.epoch,
      requestId: `a${++requests}`,
      change: wish,
      askedId,
    });

  test('with its next renewal, hurried by a notice; who asked gets what is recorded', async () => {
    const { object, sessionEpoch } = await rig.openFor('w');
    const asking = ask(wish);
    await turn();
    expect(rig.notices.at(-1)!.notice).toMatchObject({ id: object.id, what: 'look' });
    const { asked } = await rig.mds.renew({ id: object.id, sessionEpoch }, {});
    expect(asked!.change).toEqual(wish);
    await taken(object, sessionEpoch, asked!.id);
    expect((await asking).object).toMatchObject({ headVersion: 2 });
    expect((await rig.mds.renew({ id: object.id, sessionEpoch }, {})).asked).toBeNull();
    await failure('EXISTS', ask(wish));
  });

  test('by nobody when none holds the object, or lets go of it', async () => {
    expect(await ask(wish)).toEqual({ object: null });
    const { object, sessionEpoch } = await rig.openFor('w');
    const asking = ask(wish);
    await turn();
    await rig.mds.close({ id: object.id, sessionEpoch, clean: true });
    expect(await asking).toEqual({ object: null });
    await rig.openFor('x');
    const late = ask(wish, 60_000);
    await turn();
    rig.clock.advance(30_000);
    expect(await late).toEqual({ object: null });
  });

  test('no longer than somebody waits: what is done for it then is refused', async () => {
    const { object, sessionEpoch } = await rig.openFor('w');
    const asking = failure('TIMEOUT', ask(wish, 2000));
    await turn();
    const { asked } = await rig.mds.renew({ id: object.id, sessionEpoch }, {});
    rig.clock.advance(2000);
    await asking;
    await failure('NOT_FOUND', taken(object, sessionEpoch, asked!.id));
    expect((await rig.mds.getObj({ ref: 'vol' })).headVersion).toBe(1);
    const caller = {};
    const gone = failure('CONNECTION_LOST', ask(wish, 2000, caller));
    await turn();
    rig.mds.lost(caller);
    await gone;
    expect((await rig.mds.renew({ id: object.id, sessionEpoch }, {})).asked).toBeNull();
  });

  test('and may refuse', async () => {
    const { object, sessionEpoch } = await rig.openFor('w');
    const asking = failure('UNAVAILABLE', ask(wish));
    await turn();
    const { asked } = await rig.mds.renew({ id: object.id, sessionEpoch }, {});
    const refusal = { id: object.id, sessionEpoch, askedId: asked!.id, code: 'UNAVAILABLE', reason: 'no' };
    await failure('FENCED', rig.mds.versions.refuse({ ...refusal, sessionEpoch: 1 }));
    await rig.mds.versions.refuse(refusal);
    expect((await asking).message).toBe('no');
  });

  test('one thing after another', async () => {
    const { object, sessionEpoch } = await rig.openFor('w');
    const [first, second] = [ask(wish), ask({ kind: 'snapshot', name: 't' })];
    await turn();
    const renewed = async () => (await rig.mds.renew({ id: object.id, sessionEpoch }, {})).asked!;
    const asked = await renewed();
    const done = await taken(object, sessionEpoch, asked.id);
    await first;
    const next = await renewed();
    expect(next.change).toMatchObject({ name: 't' });
    const request = { id: object.id, sessionEpoch, expectedEpoch: done.object.epoch, requestId: 'n' };
    await rig.mds.versions.change({ ...request, change: next.change, askedId: next.id });
    expect((await second).object).toMatchObject({ headVersion: 3 });
  });
});
