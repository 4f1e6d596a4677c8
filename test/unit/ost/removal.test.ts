import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { type Clock, systemClock } from '../../../src/common/clock.js';
import { KiB } from '../../../src/common/units.js';
import type { Io } from '../../../src/io/index.js';
import {
  failure,
  objectRecord,
  openIo,
  start,
  temporaryDirectory,
  testId,
  until,
  Writer,
} from './support.js';

const record = objectRecord(1);
const block = Buffer.alloc(4 * KiB, 1);
const DAY_MS = 24 * 3_600_000;

/** The real clock with its calendar moved on. */
const later = (days: number): Clock =>
  Object.assign(Object.create(systemClock), { wallMs: () => systemClock.wallMs() + days * DAY_MS });

function files(dir: string): string[] {
  const entries = readdirSync(join(dir, 'chunks'), { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => entry.name);
}

async function attachable(io: Io, address: string, number: number): Promise<boolean> {
  const writer = await Writer.connect(io, address);
  try {
    await writer.attach(objectRecord(number), 50 + number, 1);
    return true;
  } catch {
    return false;
  } finally {
    writer.peer.destroy();
  }
}

test('a removed object is gone with its files, and does not come back by a late attach', async () => {
  const io = openIo();
  const dir = temporaryDirectory();
  let ost = await start(io, dir);
  const writer = await Writer.attach(io, ost.addresses[0]!, record, 5);
  for (let chunk = 0; chunk < 4; chunk++) expect((await writer.write(chunk, 0, block)).status).toBe('OK');
  expect(files(dir).length).toBe(4);
  await writer.call('ost.deleteObject', { objectId: record.id });
  expect(files(dir)).toEqual([]);
  expect((await writer.write(0, 0, block)).status).toBe('STALE_SESSION');
  await failure('NOT_FOUND', writer.attach(record, 6, 1));
  await ost.close();
  ost = await start(io, dir);
  const again = await Writer.connect(io, ost.addresses[0]!);
  await failure('NOT_FOUND', again.attach(record, 7, 1));
  await again.call('ost.deleteObject', { objectId: record.id });
  expect(await again.call('ost.usage', { objectId: record.id })).toEqual({
    allocatedBytes: 0,
    chunks: 0,
    versions: [],
  });
});

test('attaches that run against a removal leave nothing behind', async () => {
  const io = openIo();
  const dir = temporaryDirectory();
  const ost = await start(io, dir);
  const writers = await Promise.all(Array.from({ length: 8 }, () => Writer.connect(io, ost.addresses[0]!)));
  for (let number = 1; number <= 20; number++) {
    const object = objectRecord(number);
    const racing = writers.map(async (writer, i) => {
      await writer.attach(object, 5 + i, 1).catch(() => {});
      if (writer.handle !== 0) await writer.write(0, 0, block);
    });
    await writers[0]!.call('ost.deleteObject', { objectId: object.id });
    await Promise.all(racing);
    await failure('NOT_FOUND', writers[1]!.attach(object, 99, 1));
  }
  expect(files(dir)).toEqual([]);
});

test('a removal is remembered for a month, then forgotten', async () => {
  const io = openIo();
  const dir = temporaryDirectory();
  let ost = await start(io, dir);
  const writer = await Writer.connect(io, ost.addresses[0]!);
  for (let number = 1; number <= 3; number++)
    await writer.call('ost.deleteObject', { objectId: testId(number) });
  await ost.close();
  ost = await start(io, dir, { clock: later(29) });
  expect(await attachable(io, ost.addresses[0]!, 1)).toBe(false);
  await ost.close();
  ost = await start(io, dir, { clock: later(31) });
  expect(await attachable(io, ost.addresses[0]!, 1)).toBe(true);
});

test('what is asked for while a removal of the same object runs shares it', async () => {
  const io = openIo();
  const ost = await start(io, temporaryDirectory());
  const writer = await Writer.attach(io, ost.addresses[0]!, record, 5);
  await writer.write(0, 0, block);
  const asked = { objectId: record.id };
  await Promise.all(Array.from({ length: 8 }, () => writer.call('ost.deleteObject', asked)));
  await until(async () => (await writer.call('ost.stat', {})).objects === 0);
});
