import { beforeEach, expect, test } from 'vitest';
import { KiB, MiB } from '../../../src/common/units.js';
import type { ObjectRecord, Snapshot } from '../../../src/protocol/index.js';
import { objectRecord, openIo, start, temporaryDirectory, Writer } from './support.js';

/** A version that is still written while the head lies over it: docs/snapshots.md, Cut. */

const BLOCK = 4 * KiB;
const BLOCKS = MiB / BLOCK;
const below: Snapshot = {
  version: 1,
  over: 0,
  name: null,
  sizeBytes: 16 * MiB,
  createdWallMs: 0,
  protected: false,
};
const before = objectRecord(1, { epoch: 5 });
const ahead = objectRecord(1, {
  epoch: 6,
  headVersion: 2,
  headOver: 1,
  snapshots: [{ ...below, pendingName: 'monday' }],
});
const sealed = objectRecord(1, { ...ahead, epoch: 7, snapshots: [{ ...below, name: 'monday' }] });
let writer: Writer;
let address: string;

beforeEach(async () => {
  const ost = await start(openIo(), temporaryDirectory());
  address = ost.addresses[0]!;
  writer = await Writer.attach(openIo(), address, before, 5);
});

async function store(object: ObjectRecord): Promise<void> {
  const { epoch, members, lastSeal } = object;
  const set = { epoch, members };
  await writer.call('ost.storeSet', { handle: writer.handle, set, lastSeal, lossWallMs: null, object });
}
const filled = (value: number) => Buffer.alloc(BLOCK, value);
const write = (block: number, value: number, chunkVersion: number) =>
  writer.write(0, block * BLOCK, filled(value), { chunkVersion });
const head = async (block: number) =>
  (await writer.read(0, block * BLOCK, BLOCK, { chunkVersion: 2 })).bytes[0];
const snapshot = async (block: number) => {
  const reader = await Writer.connect(openIo(), address);
  const { handle } = await reader.call('ost.attachSnapshot', { objectId: before.id, version: 1 });
  return (await reader.read(0, block * BLOCK, BLOCK, { handle, chunkVersion: 1 })).bytes[0];
};

test('both are written until the seal is known, then only the head', async () => {
  await write(0, 1, 1);
  await store(ahead);
  expect((await write(1, 2, 1)).status).toBe('OK');
  expect((await write(0, 3, 2)).status).toBe('OK');
  expect([await head(0), await head(1), await head(2)]).toEqual([3, 2, 0]);
  await expect(snapshot(0)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  await store(sealed);
  expect((await write(1, 4, 1)).status).toBe('INVALID');
  expect([await head(0), await head(1)]).toEqual([3, 2]);
  expect([await snapshot(0), await snapshot(1)]).toEqual([1, 2]);
});

test('the regions written below are marked in the head', async () => {
  await write(0, 1, 1);
  await write(BLOCKS + 3, 1, 1);
  expect((await writer.regions(6)).size).toBe(0);
  await store(ahead);
  const { regions } = await writer.call('ost.mark', { handle: writer.handle, tag: 7 });
  expect(regions).toBeGreaterThan(0);
  const marked = await writer.regions(7);
  expect(marked.get('0/0')).toBe(7);
  expect(marked.size).toBe(regions);
  expect([await head(0), await head(5)]).toEqual([1, 0]);
});
