import { beforeEach, expect, test } from 'vitest';
import { KiB } from '../../../src/common/units.js';
import {
  frozenVersion,
  objectRecord,
  openIo,
  overSnapshot,
  start,
  temporaryDirectory,
  until,
  type Writer,
} from './support.js';

/** A removed version is merged when a writer asks, and not by what a record says that an MDS may have taken along when it was lost. */

const BLOCK = 4 * KiB;
const first = frozenVersion(1, 0, 'monday');
/** The head is version 2, over a snapshot. */
const known = objectRecord(1, { epoch: 6, headVersion: 2, headOver: 1, snapshots: [first] });
/** Rolled back: version 2 has no name, and what is written now goes to 3. */
const ahead = objectRecord(1, {
  epoch: 8,
  headVersion: 3,
  headOver: 2,
  snapshots: [first, frozenVersion(2, 1, null)],
});
let writer: Writer;

beforeEach(async () => {
  const io = openIo();
  const ost = await start(io, temporaryDirectory());
  writer = await overSnapshot(io, ost.addresses[0]!, known);
});

const show = async (chunkVersion: number) => {
  const { bytes } = await writer.read(0, 0, 2 * BLOCK, { chunkVersion });
  return [bytes[0], bytes[BLOCK]];
};
const asked = (waitMs: number) =>
  writer.call('ost.unmerged', { objectId: known.id, versions: [2], waitMs }).then(({ versions }) => versions);

test('a record that only this OST and a lost MDS knew has moved nothing', async () => {
  await writer.attach(ahead, 8, 1);
  await new Promise((resolve) => setTimeout(resolve, 300));
  // By an MDS that was rebuilt from what was there before.
  await writer.attach({ ...known, epoch: 1000 }, 1000, 1);
  expect(await show(2)).toEqual([1, 2]);
});

test('it is merged when that is asked for', async () => {
  await writer.attach(ahead, 8, 1);
  await until(async () => (await asked(1000)).length === 0);
  expect(await show(3)).toEqual([1, 2]);
});

test('one that had its name back is asked of again', async () => {
  await writer.attach(ahead, 8, 1);
  await writer.attach({ ...known, epoch: 1000 }, 1000, 1);
  expect(await asked(0)).toEqual([]);
  await writer.attach({ ...ahead, epoch: 1001 }, 1001, 1);
  await new Promise((resolve) => setTimeout(resolve, 300));
  await writer.attach({ ...known, epoch: 2000 }, 2000, 1);
  expect(await show(2)).toEqual([1, 2]);
});
