import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { KiB } from '../../../src/common/units.js';
import { type Faults, withFaults } from '../../fixtures/faulty-io.js';
import { OstProcess, objectRecord, openIo, start, temporaryDirectory, until, Writer } from './support.js';

/** I8 and I10: who lost unflushed writes says so by a new boot id, and nothing failed is retried into success. */

const EIO = -5;
const record = objectRecord(1);
const block = (fill: number) => Buffer.alloc(4 * KiB, fill);

test('the boot id stays over a stop in order, whatever comes then, but not in a copy of the directory', async () => {
  const io = openIo();
  const dir = temporaryDirectory();
  const bootIdOf = async (kernelBootId?: string, where = dir) => {
    const ost = await start(io, where, { kernelBootId });
    const writer = await Writer.connect(io, ost.addresses[0]!);
    const { bootId } = await writer.call('ost.stat', {});
    await ost.close();
    return bootId;
  };
  const first = await bootIdOf();
  expect(first.generation).toBe(1);
  expect(await bootIdOf()).toEqual(first);
  expect(await bootIdOf('another kernel')).toEqual(first);
  const copy = join(temporaryDirectory(), 'copy');
  cpSync(dir, copy, { recursive: true });
  expect(await bootIdOf('another kernel', copy)).toEqual({ kernel: 'another kernel', generation: 1 });
  cpSync(copy, `${copy}2`, { recursive: true });
  expect(await bootIdOf('another kernel', `${copy}2`)).toEqual({ kernel: 'another kernel', generation: 2 });
});

test('it stays after kill -9 too: the page cache is kept', async () => {
  const io = openIo();
  const dir = temporaryDirectory();
  const first = await OstProcess.start(dir);
  const before = await Writer.connect(io, first.address);
  const { bootId } = await before.attach(record, 5, 1);
  expect((await before.write(0, 0, block(7))).status).toBe('OK');
  await first.kill();
  const ost = await start(io, dir);
  const after = await Writer.connect(io, ost.addresses[0]!);
  expect((await after.attach(record, 5, 2)).bootId).toEqual(bootId);
  expect((await after.read(0, 0, 4 * KiB)).bytes.equals(block(7))).toBe(true);
});

test('a failed fdatasync ends all sessions and raises the generation, for good', async () => {
  const real = openIo();
  const faults: Faults = {};
  const io = withFaults(real, faults);
  const dir = temporaryDirectory();
  let ost = await start(io, dir);
  const writer = await Writer.connect(real, ost.addresses[0]!);
  const bystander = await Writer.attach(real, ost.addresses[0]!, objectRecord(2), 3);
  const { bootId } = await writer.attach(record, 5, 1);
  expect((await writer.write(0, 0, block(1))).status).toBe('OK');
  faults.syncResult = () => ({ result: EIO });
  expect((await writer.flush()).status).not.toBe('OK');
  delete faults.syncResult;
  expect((await writer.flush()).status).toBe('STALE_SESSION');
  expect((await writer.read(0, 0, 512)).status).toBe('STALE_SESSION');
  expect((await bystander.read(0, 0, 512)).status).toBe('STALE_SESSION');
  const raised = { ...bootId, generation: bootId.generation + 1 };
  expect((await writer.attach(record, 5, 2)).bootId).toEqual(raised);
  expect((await writer.flush()).status).toBe('OK');
  await ost.close();
  ost = await start(io, dir);
  const later = await Writer.connect(real, ost.addresses[0]!);
  expect((await later.attach(record, 5, 3)).bootId).toEqual(raised);
});

test('a flush that waits behind a failing one does not succeed', async () => {
  const real = openIo();
  const faults: Faults = {};
  const io = withFaults(real, faults);
  const ost = await start(io, temporaryDirectory());
  const writer = await Writer.attach(real, ost.addresses[0]!, record, 5);
  expect((await writer.write(0, 0, block(1))).status).toBe('OK');
  let fail = () => {};
  let syncs = 0;
  faults.hold = (_file, action) => {
    if (action !== 'sync' || ++syncs > 1) return null;
    return new Promise((resolve) => {
      fail = resolve;
    });
  };
  faults.syncResult = () => (syncs === 1 ? { result: EIO } : null);
  const failing = writer.flush();
  await until(() => syncs === 1);
  expect((await writer.write(0, 0, block(2))).status).toBe('OK');
  const waiting = writer.flush();
  // It has come: a ping behind it was answered.
  expect((await writer.read(0, 0, 512)).status).toBe('OK');
  fail();
  expect((await failing).status).not.toBe('OK');
  expect((await waiting).status).not.toBe('OK');
});

test('a write that asks for durability fails with the sync', async () => {
  const real = openIo();
  const faults: Faults = { syncResult: () => ({ result: EIO }) };
  const ost = await start(withFaults(real, faults), temporaryDirectory());
  const writer = await Writer.attach(real, ost.addresses[0]!, record, 5);
  expect((await writer.write(0, 0, block(1), { fua: true })).status).not.toBe('OK');
  delete faults.syncResult;
});

test('a kill in the very moment of the loss does not hide it', async () => {
  const io = openIo();
  const dir = temporaryDirectory();
  const first = await OstProcess.start(dir, { RAWSTOR_TEST_DIE_AT_SYNC: '1' });
  const before = await Writer.connect(io, first.address);
  const { bootId } = await before.attach(record, 5, 1);
  expect((await before.write(0, 0, block(1))).status).toBe('OK');
  expect((await before.flush()).status).toBe('CONNECTION_LOST');
  expect(await first.end()).toBe('SIGKILL');
  for (const number of [2, 3]) {
    const ost = await start(io, dir);
    const after = await Writer.connect(io, ost.addresses[0]!);
    expect((await after.attach(record, 5, number)).bootId.generation).toBe(bootId.generation + 1);
    await ost.close();
  }
});
