import { beforeEach, expect, test } from 'vitest';
import { RawstorError } from '../../../src/common/errors.js';
import { LIMITS } from '../../../src/common/limits.js';
import { GiB } from '../../../src/common/units.js';
import { encodeBody } from '../../../src/protocol/index.js';
import { createSpec, failure, ostInfo, Rig, testId } from './support.js';

let rig: Rig;
beforeEach(async () => {
  rig = await Rig.start(0);
});

const alive = async () => (await rig.mds.listOsts()).osts.filter((o) => o.alive).map((o) => o.ostId);

test('an OST is alive for ten seconds after it was heard', async () => {
  await rig.mds.registerOst(ostInfo(1), {});
  rig.clock.advance(9_999);
  expect(await alive()).toEqual([testId(1)]);
  rig.clock.advance(1);
  expect(await alive()).toEqual([]);
  await rig.mds.registerOst(ostInfo(1), {});
  expect(await alive()).toEqual([testId(1)]);
});

test('and for three after its connection was lost, unless it comes back', async () => {
  const [first, second] = [{}, {}];
  await rig.mds.registerOst(ostInfo(1), first);
  rig.mds.lost(first);
  rig.clock.advance(2_999);
  expect(await alive()).toEqual([testId(1)]);
  rig.clock.advance(1);
  expect(await alive()).toEqual([]);
  await rig.mds.registerOst(ostInfo(1), second);
  rig.mds.lost(first);
  rig.clock.advance(5_000);
  expect(await alive()).toEqual([testId(1)]);
});

test('after a restart OSTs are known but not alive until they are heard; then nothing is placed on them', async () => {
  await rig.mds.registerOst(ostInfo(1, { labels: { host: 'a', rack: 'r' } }), {});
  await rig.mds.registerOst(ostInfo(2), {});
  const before = (await rig.mds.listOsts()).osts;
  await rig.restart();
  const after = (await rig.mds.listOsts()).osts;
  expect(after).toEqual(before.map((o) => ({ ...o, alive: false })));
  const refused = failure('UNSATISFIABLE', rig.mds.createObject(createSpec()));
  await new Promise(setImmediate);
  rig.clock.advance(5_000);
  expect((await refused).toUserText()).toContain('2 dead');
  // They have had their time.
  await failure('UNSATISFIABLE', rig.mds.createObject(createSpec()));
});

test('who creates something right after a restart waits for the OSTs to come back', async () => {
  await rig.registerOsts(3);
  await rig.restart();
  const made = rig.mds.createObject(createSpec());
  await rig.mds.registerOst(ostInfo(1), {});
  await rig.mds.registerOst(ostInfo(2), {});
  await new Promise(setImmediate);
  // Two would do, but who is still missing may be the better place.
  expect(await Promise.race([made, 'waits'])).toBe('waits');
  await rig.mds.registerOst(ostInfo(3), {});
  expect((await made).map.pool).toHaveLength(2);
});

test('a changed address, label or boot id is remembered at once, free space is not worth a write', async () => {
  const versionOf = async () => (await rig.store.get(`ost/${testId(1)}`))!.version;
  await rig.mds.registerOst(ostInfo(1), rig);
  const first = await versionOf();
  await rig.mds.registerOst(ostInfo(1, { freeBytes: 5 * GiB }), rig);
  expect(await versionOf()).toBe(first);
  expect((await rig.mds.listOsts()).osts[0]!.freeBytes).toBe(5 * GiB);
  await rig.mds.registerOst(ostInfo(1, { bootId: { kernel: 'k', generation: 2 } }), rig);
  const second = await versionOf();
  expect(second).toBeGreaterThan(first);
  rig.clock.advance(60_000);
  await rig.mds.registerOst(ostInfo(1, { bootId: { kernel: 'k', generation: 2 } }), rig);
  expect(await versionOf()).toBeGreaterThan(second);
});

test('a second server with the same identity is refused while the first one lives', async () => {
  const [first, twin] = [{}, {}];
  const elsewhere = ostInfo(1, { addresses: ['tcp://10.0.0.9:7777'] });
  await rig.mds.registerOst(ostInfo(1), first);
  const error = await failure('CONFLICT', rig.mds.registerOst(elsewhere, twin));
  expect(error.toUserText()).toContain(ostInfo(1).addresses[0]!);
  rig.mds.lost(first);
  await rig.mds.registerOst(elsewhere, twin);
  expect((await rig.mds.listOsts()).osts[0]!.addresses).toEqual(elsewhere.addresses);
});

test('the same server may come back over a new connection before the old one is known to be lost', async () => {
  await rig.mds.registerOst(ostInfo(1), {});
  await rig.mds.registerOst(ostInfo(1), {});
  expect(await alive()).toEqual([testId(1)]);
});

test('OSTs are known up to a bound, and those that are known still report', async () => {
  // As large as each may be: all of them still fit one message.
  const label = 'x'.repeat(255);
  const large = (number: number, rest: string) =>
    ostInfo(number, { labels: { a: label, b: label, c: rest } });
  const spare = LIMITS.serverInfoBytes - encodeBody(large(1, 'x'.repeat(40))).length + 40;
  await failure('LIMIT', rig.mds.registerOst(large(1, 'x'.repeat(spare + 1)), {}));
  const fits = 'x'.repeat(spare);
  for (let i = 1; i <= LIMITS.ostsPerCluster; i++) await rig.mds.registerOst(large(i, fits), {});
  expect(encodeBody(await rig.mds.listOsts()).length).toBeLessThan(LIMITS.controlBytes);
  await failure('LIMIT', rig.mds.registerOst(ostInfo(LIMITS.ostsPerCluster + 1), {}));
  await rig.mds.registerOst(ostInfo(7), {});
  expect((await rig.mds.listOsts()).osts).toHaveLength(LIMITS.ostsPerCluster);
});

test('getFreeOst gives alive OSTs with room besides their reserve, the emptiest first', async () => {
  const free = [10, 50, 30, 2, 40];
  for (const [i, gib] of free.entries()) {
    await rig.mds.registerOst(ostInfo(i + 1, { freeBytes: gib * GiB }), {});
  }
  const { osts } = await rig.mds.getFreeOst({ sizeBytes: 9 * GiB, count: 3 });
  expect(osts.map((o) => o.freeBytes / GiB)).toEqual([50, 40, 30]);
  const many = await rig.mds.getFreeOst({ sizeBytes: 9 * GiB, count: 64 });
  expect(many.osts.map((o) => o.freeBytes / GiB)).toEqual([50, 40, 30, 10]);
  const tight = await rig.mds.getFreeOst({ sizeBytes: 9.5 * GiB, count: 64 });
  expect(tight.osts.map((o) => o.freeBytes / GiB)).toEqual([50, 40, 30]);
  rig.clock.advance(10_000);
  expect((await rig.mds.getFreeOst({ sizeBytes: 0, count: 3 })).osts).toEqual([]);
});

test('a mark that is made while the OST registers stays, also over a restart', async () => {
  const caller = {};
  await rig.mds.registerOst(ostInfo(1), caller);
  // Something to be written down.
  const moved = ostInfo(1, { labels: { host: 'another' } });
  const marking = rig.mds.moves.setOst({ ostId: testId(1), draining: true });
  const registering = rig.mds.registerOst(moved, caller);
  await Promise.all([marking, registering]);
  const draining = async () => (await rig.mds.listOsts()).osts.map((ost) => ost.draining);
  expect(await draining()).toEqual([true]);
  expect((await rig.mds.registerOst(moved, caller)).draining).toBe(true);
  await rig.restart();
  expect(await draining()).toEqual([true]);
});

test('an OST that is heard is alive, also while the MDS cannot write that down', async () => {
  await rig.mds.registerOst(ostInfo(1), rig);
  const { store } = rig;
  const { transact } = store;
  let tried = 0;
  store.transact = async () => {
    tried++;
    throw new RawstorError('NO_SPACE', 'full');
  };
  rig.clock.advance(60_000);
  const moved = ostInfo(1, { addresses: ['tcp://127.0.0.1:9999'] });
  await rig.mds.registerOst(moved, rig);
  await rig.mds.registerOst(moved, rig);
  expect(tried).toBe(1);
  const [ost] = (await rig.mds.listOsts()).osts;
  expect(ost).toMatchObject({ alive: true, addresses: moved.addresses });
  // A new one has to be on disk first.
  await failure('NO_SPACE', rig.mds.registerOst(ostInfo(2), {}));
  store.transact = transact;
  rig.clock.advance(10_000);
  await rig.mds.registerOst(moved, rig);
  await rig.restart();
  expect((await rig.mds.listOsts()).osts[0]!.addresses).toEqual(moved.addresses);
});
