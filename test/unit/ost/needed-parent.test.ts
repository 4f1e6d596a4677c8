import { beforeEach, expect, test } from 'vitest';
import { RawstorError } from '../../../src/common/errors.js';
import { KiB, MiB } from '../../../src/common/units.js';
import type { Io } from '../../../src/io/index.js';
import type { RunningOst } from '../../../src/ost/index.js';
import { removeEach } from '../../../src/ost/told-removals.js';
import { type ObjectRecord, Opcode } from '../../../src/protocol/index.js';
import {
  failure,
  frozenVersion,
  objectRecord,
  openIo,
  overSnapshot,
  start,
  temporaryDirectory,
  until,
  Writer,
} from './support.js';

/** What a clone here lies over stays, whatever is asked for: by the OST's own records. */

const BLOCK = 4 * KiB;
const PARENT = objectRecord(1);
const CLONE = objectRecord(2);
const { sizeBytes } = PARENT;
/** Version 1 and 2 have something each, the clone lies over 2, the head over both. */
const taken = objectRecord(1, {
  epoch: 7,
  headVersion: 3,
  headOver: 2,
  snapshots: [frozenVersion(1, 0, null), frozenVersion(2, 1, 'monday')],
});
let io: Io;
let dir: string;
let ost: RunningOst;
let parent: Writer;
let clone: Writer;
let cloneRecord: ObjectRecord;

const filled = (value: number) => Buffer.alloc(BLOCK, value);

beforeEach(async () => {
  io = openIo();
  dir = temporaryDirectory();
  ost = await start(io, dir);
  const second = objectRecord(1, {
    epoch: 6,
    headVersion: 2,
    headOver: 1,
    snapshots: [frozenVersion(1, 0, 'sunday')],
  });
  parent = await overSnapshot(io, ost.addresses[0]!, second);
  const named = { ...taken, snapshots: [frozenVersion(1, 0, 'sunday'), frozenVersion(2, 1, 'monday')] };
  await parent.attach(named, 7, 1);
  await parent.write(0, 2 * BLOCK, filled(3), { chunkVersion: 3 });
  const over = { objectId: PARENT.id, version: 2, name: 'vol1@monday', ostIds: [ost.ostId], sizeBytes };
  cloneRecord = { ...CLONE, parent: over };
  clone = await Writer.attach(io, ost.addresses[0]!, cloneRecord, 5);
});

const show = async (writer: Writer, chunkVersion = 1) => {
  const { bytes } = await writer.read(0, 0, 3 * BLOCK, { chunkVersion });
  return [0, 1, 2].map((block) => bytes[block * BLOCK]);
};
const restart = async () => {
  await ost.close();
  ost = await start(io, dir);
  clone = await Writer.attach(io, ost.addresses[0]!, cloneRecord, 50);
  parent = await Writer.connect(io, ost.addresses[0]!);
};
const merged = (versions: number[], waitMs = 0) =>
  parent.call('ost.unmerged', { objectId: PARENT.id, versions, waitMs });

test('it is not deleted before the clone is', async () => {
  expect(await show(clone)).toEqual([1, 2, 0]);
  const remove = () => parent.call('ost.deleteObject', { objectId: PARENT.id });
  const refused = await failure('BUSY', remove());
  expect(refused.toUserText()).toContain(CLONE.name);
  expect(refused.toUserText()).toContain(CLONE.id);
  expect(await show(clone)).toEqual([1, 2, 0]);
  await restart();
  await failure('BUSY', remove());
  expect(await show(clone)).toEqual([1, 2, 0]);
  await clone.call('ost.deleteObject', { objectId: CLONE.id });
  await remove();
});

test('a flattened clone needs it no more', async () => {
  const { handle } = clone;
  const object = { ...cloneRecord, epoch: 9, parent: null };
  const set = { epoch: 9, members: [] };
  await clone.call('ost.storeSet', { handle, set, lastSeal: 0, lossWallMs: null, object });
  await parent.call('ost.deleteObject', { objectId: PARENT.id });
});

test('a flattened clone shows nothing of what becomes of the versions that it lay over, open or not', async () => {
  const erase = { opcode: Opcode.ERASE, chunk: 0, offset: 0, length: BLOCK, chunkVersion: 2 };
  const second = {
    ...taken,
    epoch: 8,
    headVersion: 2,
    headOver: 1,
    snapshots: [frozenVersion(1, 0, 'sunday')],
  };
  const other = { ...second, id: objectRecord(3).id, name: 'vol3' };
  const writer = await overSnapshot(io, ost.addresses[0]!, other);
  // Zeros over what sunday has, which go with the version that is merged.
  await writer.run(erase, null);
  const third = { ...other, epoch: 9, headVersion: 3, headOver: 2 };
  await writer.attach(
    { ...third, snapshots: [frozenVersion(1, 0, 'sunday'), frozenVersion(2, 1, 'monday')] },
    9,
    1,
  );
  const over = { objectId: other.id, version: 2, name: 'vol3@monday', ostIds: [ost.ostId], sizeBytes };
  const record = objectRecord(4, { parent: over });
  const flat = await Writer.attach(io, ost.addresses[0]!, record, 5);
  expect(await show(flat)).toEqual([0, 2, 0]);
  const { handle } = flat;
  await flat.call('ost.flatten', { handle, chunk: 0, offset: 0, length: MiB, tag: 6 });
  const object = { ...record, epoch: 9, parent: null };
  const set = { epoch: 9, members: [] };
  await flat.call('ost.storeSet', { handle, set, lastSeal: 0, lossWallMs: null, object });
  await writer.attach(
    { ...third, epoch: 10, snapshots: [frozenVersion(1, 0, 'sunday'), frozenVersion(2, 1, null)] },
    10,
    1,
  );
  const unmerged = () => writer.call('ost.unmerged', { objectId: other.id, versions: [2], waitMs: 1000 });
  await until(async () => (await unmerged()).versions.length === 0);
  expect(await show(writer, 3)).toEqual([0, 2, 0]);
  expect(await show(flat)).toEqual([0, 2, 0]);
});

test('a clone that has all by itself needs nothing here', async () => {
  const elsewhere = { ...cloneRecord.parent!, ostIds: [] };
  await clone.attach({ ...cloneRecord, epoch: 9, parent: elsewhere }, 9, 1);
  await parent.call('ost.deleteObject', { objectId: PARENT.id });
});

test('its version is not merged away, nor what lies below it past it, before the clone is gone', async () => {
  await parent.attach(
    { ...taken, epoch: 8, snapshots: [frozenVersion(1, 0, null), frozenVersion(2, 1, null)] },
    8,
    1,
  );
  expect((await merged([1, 2], 300)).versions).toEqual([1, 2]);
  expect(await show(clone)).toEqual([1, 2, 0]);
  expect(await show(parent, 3)).toEqual([1, 2, 3]);
  await restart();
  expect(await show(clone)).toEqual([1, 2, 0]);
  await parent.attach(
    { ...taken, epoch: 9, snapshots: [frozenVersion(1, 0, null), frozenVersion(2, 1, null)] },
    9,
    1,
  );
  await clone.call('ost.deleteObject', { objectId: CLONE.id });
  await until(async () => (await merged([1, 2], 1000)).versions.length === 0);
  expect(await show(parent, 3)).toEqual([1, 2, 3]);
});

test('what lies below it is merged into it', async () => {
  await parent.attach({ ...taken, epoch: 8 }, 8, 1);
  await until(async () => (await merged([1], 1000)).versions.length === 0);
  expect(await show(clone)).toEqual([1, 2, 0]);
});

test('a record that has forgotten it changes nothing', async () => {
  await parent.attach({ ...taken, epoch: 8, headOver: 0, snapshots: [] }, 8, 1);
  expect(await show(clone)).toEqual([1, 2, 0]);
  expect((await merged([1, 2], 300)).versions).toEqual([1, 2]);
  await restart();
  expect(await show(clone)).toEqual([1, 2, 0]);
});

test('what is refused comes after what it waits for, and keeps nothing from it', async () => {
  const there = new Set(['clone', 'grandchild']);
  const needs: Record<string, string> = { parent: 'clone', clone: 'grandchild', other: 'stranger' };
  there.add('stranger');
  const failed: string[] = [];
  const gone = await removeEach(
    ['parent', 'clone', 'other', 'broken', 'grandchild'],
    async (id) => {
      if (id === 'broken') throw new RawstorError('IO', 'a disk');
      if (there.has(needs[id] ?? '')) throw new RawstorError('BUSY', 'a clone');
      there.delete(id);
    },
    (id, { code }) => failed.push(`${id} ${code}`),
  );
  expect(gone).toEqual(['grandchild', 'clone', 'parent']);
  expect(failed.sort()).toEqual(['broken IO', 'other BUSY']);
});
