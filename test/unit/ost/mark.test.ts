import { beforeEach, expect, test } from 'vitest';
import { KiB } from '../../../src/common/units.js';
import type { RunningOst } from '../../../src/ost/index.js';
import { objectRecord, openIo, start, temporaryDirectory, Writer } from './support.js';

/** Regions made ready for the next tag before a seal (I2): a steady writer then finds its intents durable. */

const block = Buffer.alloc(4 * KiB, 1);
const record = objectRecord(1);
let dir: string;
let ost: RunningOst;
let writer: Writer;

beforeEach(async () => {
  dir = temporaryDirectory();
  ost = await start(openIo(), dir);
  writer = await Writer.attach(openIo(), ost.addresses[0]!, record, 5);
});

const newer = async (since: number) => {
  const { rows } = await writer.call('ost.regions', { handle: writer.handle, since, from: null });
  return rows;
};
const mark = (tag: number) => writer.call('ost.mark', { handle: writer.handle, tag });

test('those written lately are raised to the tag, once, and outlive the process', async () => {
  await writer.write(0, 0, block, { tag: 5 });
  await writer.write(1, 0, block, { tag: 5 });
  expect(await mark(6)).toEqual({ regions: 2 });
  expect(await newer(6)).toEqual([0, 0, 6, 1, 0, 6]);
  expect(await mark(6)).toEqual({ regions: 0 });
  await ost.close();
  ost = await start(openIo(), dir);
  writer = await Writer.attach(openIo(), ost.addresses[0]!, record, 5, 2);
  expect(await newer(6)).toEqual([0, 0, 6, 1, 0, 6]);
  // Nobody has written since this process began.
  expect(await mark(7)).toEqual({ regions: 0 });
});

test('others stay as they are, and none is lowered', async () => {
  await writer.write(0, 0, block, { tag: 9 });
  await writer.read(1, 0, block.length);
  expect(await mark(7)).toEqual({ regions: 0 });
  expect(await newer(1)).toEqual([0, 0, 9]);
});

test('by a session that is served only', async () => {
  await writer.write(0, 0, block, { tag: 5 });
  await Writer.attach(openIo(), ost.addresses[0]!, record, 6);
  await expect(mark(7)).rejects.toMatchObject({ code: 'STALE_SESSION' });
});
