import { mkdirSync, renameSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { RawstorError } from '../../../src/common/errors.js';
import { KiB, MiB } from '../../../src/common/units.js';
import type { Io } from '../../../src/io/index.js';
import type { ObjectRecord } from '../../../src/protocol/index.js';
import { type Faults, withFaults } from '../../fixtures/faulty-io.js';
import {
  failure,
  frozenVersion,
  objectRecord,
  openIo,
  start,
  temporaryDirectory,
  until,
  Writer,
} from './support.js';

/** Something that is only asked of the system fails: that is answered, and is neither a loss nor the end of anything else. */

const BLOCK = 4 * KiB;
const block = (fill: number) => Buffer.alloc(BLOCK, fill);
const directoryOf = (dir: string, id: string) => join(dir, 'chunks', id.slice(-2), id);
const snapshot = (version: number, name: string | null) => frozenVersion(version, version - 1, name);

/** A block in each of three versions, the last being the head. */
async function threeVersions(real: Io, address: string, chunkSizeBytes = 4 * MiB): Promise<Writer> {
  const record = (epoch: number, change: Partial<ObjectRecord>) =>
    objectRecord(1, { epoch, chunkSizeBytes, ...change });
  const first = await Writer.attach(real, address, record(1, {}), 10);
  await first.write(0, 0, block(1));
  await first.flush();
  const two = { headVersion: 2, headOver: 1, snapshots: [snapshot(1, 'a')] };
  const second = await Writer.attach(real, address, record(20, two), 20);
  await second.write(0, BLOCK, block(2), { chunkVersion: 2 });
  await second.flush();
  const three = { headVersion: 3, headOver: 2, snapshots: [snapshot(1, 'a'), snapshot(2, 'b')] };
  const third = await Writer.attach(real, address, record(30, three), 30);
  await third.write(0, 2 * BLOCK, block(3), { chunkVersion: 3 });
  await third.flush();
  return third;
}

test('a removed snapshot that was merged leaves the chain whole, though its file cannot be opened any more', async () => {
  const real = openIo();
  const faults: Faults = {};
  const ost = await start(withFaults(real, faults), temporaryDirectory());
  const [address] = ost.addresses;
  await threeVersions(real, address!);
  faults.open = (path) => {
    if (path.endsWith('/0.2')) throw new RawstorError('IO', 'it cannot be opened', { where: path });
  };
  const snapshots = [snapshot(1, 'a'), snapshot(2, null)];
  const record = objectRecord(1, { epoch: 40, headVersion: 3, headOver: 2, snapshots });
  const writer = await Writer.attach(real, address!, record, 40);
  await writer.call('ost.unmerged', { objectId: record.id, versions: [2], waitMs: 0 });
  await until(async () => {
    const { versions } = await writer.call('ost.usage', { objectId: record.id });
    return !versions.some(({ version }) => version === 2);
  });
  // A read and a copy-up: both go down to the first version.
  const read = await writer.read(0, 0, 3 * BLOCK, { chunkVersion: 3 });
  expect([0, 1, 2].map((i) => read.bytes[i * BLOCK])).toEqual([1, 2, 3]);
  await writer.write(0, 512, Buffer.alloc(512, 9), { chunkVersion: 3 });
  expect((await writer.read(0, 0, BLOCK, { chunkVersion: 3 })).bytes[2000]).toBe(1);
});

test('a directory that cannot be opened to be synced fails the flush, and is no loss', async () => {
  const io = openIo();
  const dir = temporaryDirectory();
  const ost = await start(io, dir);
  const [address] = ost.addresses;
  const record = objectRecord(1);
  const writer = await Writer.attach(io, address!, record, 10);
  const bystander = await Writer.attach(io, address!, objectRecord(2), 10);
  const { bootId } = await writer.call('ost.stat', {});
  expect((await writer.write(0, 0, block(1))).status).toBe('OK');
  const directory = directoryOf(dir, record.id);
  renameSync(directory, `${directory}-away`);
  expect((await writer.flush()).status).toBe('IO');
  renameSync(`${directory}-away`, directory);
  expect((await writer.flush()).status).toBe('OK');
  expect((await bystander.read(0, 0, BLOCK)).status).toBe('OK');
  expect((await writer.call('ost.stat', {})).bootId).toEqual(bootId);
});

test('an operation on a file that does not say where it has data is answered, and the object goes on', async () => {
  const real = openIo();
  const faults: Faults = {};
  const ost = await start(withFaults(real, faults), temporaryDirectory());
  const writer = await threeVersions(real, ost.addresses[0]!, 8 * MiB);
  // Of the first region the map is known, with blocks of several versions at its end; of the second it is not.
  const end = 4 * MiB;
  await writer.write(0, end - BLOCK, block(5), { chunkVersion: 3 });
  await writer.read(0, end - 2 * BLOCK, 2 * BLOCK, { chunkVersion: 3 });
  const all = async () => [
    (await writer.read(0, end - 2 * BLOCK, 3 * BLOCK, { chunkVersion: 3 })).status,
    (await writer.read(0, end, BLOCK, { chunkVersion: 3 })).status,
    (await writer.write(0, end + 512, Buffer.alloc(512, 9), { chunkVersion: 3 })).status,
  ];
  faults.seek = () => {
    throw new RawstorError('IO', 'lseek failed', { where: 'disk' });
  };
  expect(await all()).toEqual(['IO', 'IO', 'IO']);
  faults.seek = () => {};
  expect(await all()).toEqual(['OK', 'OK', 'OK']);
  // An attach waits until nothing of the session before is in flight.
  const three = { headVersion: 3, headOver: 2, snapshots: [snapshot(1, 'a'), snapshot(2, 'b')] };
  await writer.attach(objectRecord(1, { epoch: 50, chunkSizeBytes: 8 * MiB, ...three }), 50, 1);
});

test('a removed object that cannot be deleted keeps neither its OST from starting nor others from going', async () => {
  const io = openIo();
  const dir = temporaryDirectory();
  const ost = await start(io, dir);
  const records = [objectRecord(1), objectRecord(2)];
  for (const record of records) {
    const writer = await Writer.attach(io, ost.addresses[0]!, record, 10);
    await writer.write(0, 0, block(1));
  }
  // What rmdir and unlink refuse, as they do on a damaged file system.
  const obstacles = records.map(({ id }) => join(directoryOf(dir, id), 'obstacle'));
  for (const obstacle of obstacles) mkdirSync(obstacle);
  const asker = await Writer.connect(io, ost.addresses[0]!);
  for (const { id } of records) {
    await asker.call('ost.deleteObject', { objectId: id }).then(
      () => expect.unreachable(),
      () => {},
    );
  }
  await ost.close();
  rmdirSync(obstacles[1]!);
  const again = await start(io, dir);
  const writer = await Writer.connect(io, again.addresses[0]!);
  for (const record of records) await failure('NOT_FOUND', writer.attach(record, 20, 1));
  const usage = ({ id }: ObjectRecord) => writer.call('ost.usage', { objectId: id });
  expect(await usage(records[1]!)).toMatchObject({ chunks: 0 });
});
