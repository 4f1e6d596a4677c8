import { createHash, randomBytes } from 'node:crypto';
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  type Cluster,
  type Extent,
  ImmutableStore,
  lengthOf,
  references,
} from '../../../src/client/index.js';
import { systemClock } from '../../../src/common/clock.js';
import { silentLogger } from '../../../src/common/log.js';
import { KiB, MiB } from '../../../src/common/units.js';
import { ClientRig } from '../client/rig.js';

/** Immutable content over a real MDS and real OSTs. */

let rig: ClientRig;
let store: ImmutableStore;
const layout = { replicas: 2, minReplicas: 1, stripeWidth: 1, failureDomain: 'ost', near: null } as const;

function storeOf(cluster: Cluster, replicas = 2): ImmutableStore {
  const of = { ...layout, replicas };
  return new ImmutableStore({ cluster, io: rig.io, clock: systemClock, log: silentLogger, layout: of });
}

beforeEach(async () => {
  rig = await ClientRig.start(3);
  store = storeOf(rig.cluster);
});
afterEach(async () => {
  await store.close();
  await rig.end();
});

const sha = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

async function put(to: ImmutableStore, row: string, content: Buffer, size: number | null, plain = false) {
  const writer = await to.writer(size, plain);
  for (let at = 0; at < content.length; at += 100_000) {
    await writer.write(Buffer.from(content.subarray(at, at + 100_000)));
  }
  const extents = await to.finish(writer);
  const refs = references(row, `of-${row}`, extents);
  const value = { id: `of-${row}`, extents };
  expect(await to.catalog.transact({ puts: [{ key: row, value }, ...refs] })).toBeNull();
  await writer.release();
  return { extents, refs: refs.map((one) => one.key) };
}

async function content(from: ImmutableStore, extents: readonly Extent[], start?: number, end?: number) {
  const parts: Buffer[] = [];
  for await (const bytes of from.read(extents, start, end)) parts.push(bytes);
  return Buffer.concat(parts);
}

const objectNames = async () => {
  const { objects } = await rig.cluster.mds.call('mds.list', { after: '', limit: 1000 });
  return objects.map((one) => one.name.split('.')[1]).filter((kind) => kind !== 'journal');
};

test.each([
  ['empty', 0, 0],
  ['a byte', 1, 1],
  ['4 KiB', 4 * KiB, 4 * KiB],
  ['packed, odd', 3 * MiB + 77, 3 * MiB + 77],
  ['of its own', 9 * MiB + 5, 9 * MiB + 5],
  ['of unknown length', 5 * MiB + 1, null],
])('%s: what was written is read, whole and in parts, by others too', async (_name, length, size) => {
  const bytes = randomBytes(length);
  const { extents } = await put(store, 'row', bytes, size);
  expect(lengthOf(extents)).toBe(length);
  expect(sha(await content(store, extents))).toBe(sha(bytes));
  const [from, to] = [Math.floor(length / 3), Math.floor(length / 2)];
  expect(sha(await content(store, extents, from, to))).toBe(sha(bytes.subarray(from, to)));
  const cluster = await rig.connect('other');
  const other = storeOf(cluster);
  expect(sha(await content(other, extents))).toBe(sha(bytes));
  await other.close();
  await cluster.close();
});

test('many small contents share an object; one that was removed and others that stay are told apart', async () => {
  const all = await Promise.all(
    Array.from({ length: 40 }, (_, i) => put(store, `row${i}`, Buffer.alloc(5000, i + 1), 5000)),
  );
  expect(await objectNames()).toEqual(['pack']);
  const places = all.map(({ extents }) => extents[0]!.offset).sort((a, b) => a - b);
  for (let i = 1; i < 40; i++) expect(places[i]! - places[i - 1]!).toBeGreaterThanOrEqual(5000);
  for (const [i, { extents }] of all.entries()) {
    expect((await content(store, extents)).equals(Buffer.alloc(5000, i + 1))).toBe(true);
  }
});

test('contents that others read at once share a pack only until it has many versions', async () => {
  const cluster = await rig.connect('other');
  const other = storeOf(cluster);
  const ids = new Set<string>();
  for (let i = 0; i < 68; i++) {
    const { extents } = await put(store, `row${i}`, Buffer.alloc(100, i), 100);
    ids.add(extents[0]!.objectId);
    expect((await content(other, extents)).equals(Buffer.alloc(100, i))).toBe(true);
  }
  expect(ids.size).toBe(2);
  await other.close();
  await cluster.close();
}, 120_000);

test('what has no reference goes; what has one is removed by nobody', async () => {
  const kept = await put(store, 'kept', randomBytes(9 * MiB), 9 * MiB);
  const writer = await store.writer(9 * MiB);
  await writer.write(randomBytes(MiB));
  // Under way: its writer holds it.
  expect(await store.collector.run(0)).toEqual({ removed: 0, moved: 0 });
  await writer.abort();
  const id = kept.extents[0]!.objectId;
  await expect(rig.cluster.mds.call('mds.remove', { ref: id, force: true })).rejects.toMatchObject({
    code: 'BUSY',
  });
  expect(await store.collector.run(0)).toEqual({ removed: 1, moved: 0 });
  expect(lengthOf(kept.extents)).toBe((await content(store, kept.extents)).length);
  await store.catalog.transact({ deletes: ['kept', ...kept.refs] });
  await store.collector.released([id]);
  expect(await objectNames()).toEqual([]);
  const gone = references('row', 'e2', kept.extents);
  await expect(store.catalog.transact({ puts: gone })).rejects.toMatchObject({ code: 'NOT_FOUND' });
});

test('a pack that is mostly dead is emptied, and its living contents are the same', async () => {
  const bytes = randomBytes(70_000);
  const lives = await put(store, 'lives', bytes, 70_000);
  const dies = await put(store, 'dies', randomBytes(90_000), 90_000);
  await store.catalog.transact({ deletes: ['dies', ...dies.refs] });
  await store.close();
  store = storeOf(rig.cluster);
  // By a process that would write with fewer replicas itself.
  const cluster = await rig.connect('command');
  const command = storeOf(cluster, 1);
  expect(await command.collector.run(0)).toEqual({ removed: 1, moved: 1 });
  await command.close();
  await cluster.close();
  const row = await store.catalog.get<{ extents: Extent[] }>('lives');
  const moved = await rig.cluster.mds.call('mds.getObj', { ref: row!.value.extents[0]!.objectId });
  expect(moved.replicas).toBe(2);
  expect(row!.value.extents[0]!.objectId).not.toBe(lives.extents[0]!.objectId);
  expect(sha(await content(store, row!.value.extents))).toBe(sha(bytes));
  expect(await objectNames()).toEqual(['pack']);
});

test('a pack that is emptied stays while somebody reads there, and for a while', async () => {
  const bytes = randomBytes(6 * MiB);
  await put(store, 'lives', bytes, bytes.length);
  await store.close();
  store = storeOf(rig.cluster);
  const { catalog, collector } = store;
  const before = (await catalog.get<{ extents: Extent[] }>('lives'))!.value.extents;
  const reading = store.read(before);
  const parts: Buffer[] = [];
  // Begins when the pack has been looked at, and ends after it has been emptied.
  const transact = catalog.transact;
  catalog.transact = async (change) => {
    catalog.transact = transact;
    parts.push((await reading.next()).value!);
    return catalog.transact(change);
  };
  expect(await collector.run(0)).toEqual({ removed: 0, moved: 1 });
  for await (const piece of reading) parts.push(piece);
  expect(sha(Buffer.concat(parts))).toBe(sha(bytes));
  expect(await collector.run(0)).toEqual({ removed: 1, moved: 0 });
});

test('a pack that was emptied is removed in a later round', async () => {
  await put(store, 'lives', randomBytes(5000), 5000);
  await store.close();
  store = storeOf(rig.cluster);
  // So that the pack counts as old, and as emptied just now.
  await new Promise((resolve) => setTimeout(resolve, 1100));
  expect(await store.collector.run(1000)).toEqual({ removed: 0, moved: 1 });
  expect(await store.collector.run(0)).toEqual({ removed: 1, moved: 0 });
});

test('a gateway looks at what has changed there, and asks nothing about all else', async () => {
  const rows: { extents: Extent[]; refs: string[] }[] = [];
  for (let i = 0; i < 12; i++) rows.push(await put(store, `own${i}`, randomBytes(9 * MiB), 9 * MiB));
  const { catalog, collector } = store;
  expect(await collector.round(0)).toEqual({ removed: 0, moved: 0 });
  const { mds } = rig.cluster;
  const asked: string[] = [];
  const call = mds.call.bind(mds);
  mds.call = ((method: 'mds.list', params: never, ...more: []) => {
    asked.push(method);
    return call(method, params, ...more);
  }) as typeof mds.call;
  expect(await collector.round(0)).toEqual({ removed: 0, moved: 0 });
  expect(asked).toEqual(['mds.catalogState']);
  // Removed while it is read: it goes when its reader has gone.
  const { extents, refs } = rows[0]!;
  const reading = store.read(extents);
  await reading.next();
  await catalog.transact({ deletes: ['own0', ...refs] });
  await collector.released([extents[0]!.objectId]);
  expect(await collector.round(0)).toEqual({ removed: 0, moved: 0 });
  await reading.return(undefined);
  expect(await collector.round(0)).toEqual({ removed: 1, moved: 0 });
  // Never named by anything.
  const writer = await store.writer(9 * MiB);
  await writer.write(randomBytes(MiB));
  await writer.abort();
  expect(await collector.round(0)).toEqual({ removed: 1, moved: 0 });
  asked.length = 0;
  expect(await collector.round(0)).toEqual({ removed: 0, moved: 0 });
  expect(asked).toEqual(['mds.catalogState']);
  mds.call = call;
}, 120_000);

test('a pack that another process emptied is not removed before it was seen empty here for a while', async () => {
  await put(store, 'lives', randomBytes(5000), 5000);
  await store.close();
  store = storeOf(rig.cluster);
  await new Promise((resolve) => setTimeout(resolve, 150));
  const cluster = await rig.connect('other');
  const other = storeOf(cluster);
  expect(await other.collector.run(100)).toEqual({ removed: 0, moved: 1 });
  expect(await store.collector.run(100)).toEqual({ removed: 0, moved: 0 });
  await new Promise((resolve) => setTimeout(resolve, 600));
  expect(await store.collector.run(100)).toEqual({ removed: 1, moved: 0 });
  await other.close();
  await cluster.close();
});

test('parts of a grid lie one behind the other, whatever the order they came in', async () => {
  const grid = await store.grid();
  const parts = [randomBytes(2 * MiB), randomBytes(2 * MiB), randomBytes(1000)];
  const extents: Extent[] = [];
  for (const i of [1, 0, 2]) {
    const writer = store.gridWriter(grid, i + 1, parts[i]!.length, null)!;
    await writer.write(Buffer.from(parts[i]!));
    [extents[i]] = (await store.finish(writer)) as [Extent];
    await writer.release();
  }
  expect(grid.place(1, 2 * MiB)).toBeNull();
  expect(grid.place(4, 3 * MiB)).toBeNull();
  expect(extents.map((one) => one.offset)).toEqual([0, 2 * MiB, 4 * MiB]);
  await grid.seal(4 * MiB + 1000);
  const value = { id: 'e', extents };
  await store.catalog.transact({ puts: [{ key: 'g', value }, ...references('g', 'e', extents)] });
  await grid.close();
  expect(sha(await content(store, extents))).toBe(sha(Buffer.concat(parts)));
  const object = await rig.cluster.mds.call('mds.getObj', { ref: extents[0]!.objectId });
  expect(object.sizeBytes).toBe(4 * MiB + 4096);
  await expect(rig.cluster.openVolume(object.id, { mode: 'write' })).rejects.toMatchObject({
    code: 'READ_ONLY',
  });
});

test('all that wait for the parts of a grid go on when those are written', async () => {
  const grid = await store.grid();
  const writer = store.gridWriter(grid, 1, 5000, null)!;
  await writer.write(randomBytes(5000));
  const sealed = [grid.seal(), grid.seal(), grid.close()];
  await store.finish(writer);
  await writer.release();
  await Promise.all(sealed);
});

test('nothing is read from behind the end of an object, and no part of a grid is cut off', async () => {
  const grid = await store.grid();
  const extents: Extent[] = [];
  for (const part of [1, 2]) {
    const writer = store.gridWriter(grid, part, 4 * KiB, null)!;
    await writer.write(Buffer.alloc(4 * KiB, part));
    extents.push(...(await store.finish(writer)));
    await writer.release();
  }
  await grid.seal(4 * KiB);
  await grid.close();
  expect((await content(store, extents)).at(-1)).toBe(2);
  for (const length of [4 * KiB, 1]) {
    const behind = [{ ...extents[0]!, offset: 1 * MiB, length }];
    await expect(content(store, behind)).rejects.toMatchObject({ code: 'BAD_DATA' });
  }
});
