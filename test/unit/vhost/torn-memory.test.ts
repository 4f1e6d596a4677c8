import { ftruncateSync, openSync } from 'node:fs';
import { afterEach, expect, test } from 'vitest';
import { GiB } from '../../../src/common/units.js';
import { createMemfd, mapAnonymous, mapShared } from '../../../src/io/index.js';
import { BlkStatus, BlkType, Request } from '../../../src/vhost/constants.js';
import type { FrontEnd } from '../../fixtures/vhost/connection.js';
import type { Driver } from '../../fixtures/vhost/driver.js';
import { Rig, requestParts } from '../../fixtures/vhost/rig.js';

/** A front-end that takes away memory it has shared: its device ends, the process and all else go on. */

const DATA = 2 << 20;
const rigs: Rig[] = [];
afterEach(async () => {
  for (const rig of rigs.splice(0)) await rig.close();
});

async function device(): Promise<{ driver: Driver; front: FrontEnd }> {
  const rig = new Rig();
  rigs.push(rig);
  const driver = await rig.queue({ size: 16 });
  return { driver, front: driver.front };
}

function shrink(front: FrontEnd, sizeBytes: number): void {
  // The memfd of the test is its own; a back-end gets descriptors of it.
  ftruncateSync(openSync(`/proc/self/fd/${front.fd}`, 'r+'), sizeBytes);
}

function add(driver: Driver, type: number, at: number): number {
  const { parts, statusAt } = requestParts(driver.front, 0, type, 0, [
    { at, length: 4096, write: type === BlkType.IN },
  ]);
  driver.add(parts);
  return statusAt;
}

async function works(driver: Driver): Promise<void> {
  const statusAt = add(driver, BlkType.IN, DATA);
  driver.kick.signal();
  await driver.used(1);
  expect(driver.front.bytes[statusAt]).toBe(BlkStatus.OK);
}

test('a mapping reads as zeros where its file has become shorter, and says so', () => {
  const fd = createMemfd('torn', 65536);
  const [one, other] = [mapShared(fd, 0, 65536, 4096), mapShared(fd, 0, 4096, 4096)];
  one.bytes.fill(7);
  ftruncateSync(fd, 8192);
  expect([one.bytes[0], one.bytes[8191]]).toEqual([7, 7]);
  expect([one.isTorn, other.isTorn]).toEqual([false, false]);
  expect([one.bytes[8192], one.bytes[65535]]).toEqual([0, 0]);
  expect([one.isTorn, other.isTorn]).toEqual([true, false]);
  one.bytes[8192] = 1;
  one.unmap();
  other.unmap();
});

test('and what is mapped beside it stays, whatever size the file says its pages have', () => {
  const mappings = Array.from({ length: 32 }, (_, i) => {
    const fd = createMemfd(`one of ${i}`, 65536);
    const mapping = mapShared(fd, 0, 65536, 1 << 20);
    mapping.bytes.fill(i + 1);
    return { fd, mapping };
  });
  const torn = mappings[16]!;
  ftruncateSync(torn.fd, 0);
  expect(torn.mapping.bytes[40000]).toBe(0);
  for (const [i, { mapping }] of mappings.entries()) {
    expect([mapping.isTorn, mapping.bytes[0], mapping.bytes[65535]]).toEqual(
      i === 16 ? [true, 0, 0] : [false, i + 1, i + 1],
    );
  }
  for (const { mapping } of mappings) mapping.unmap();
});

test.each([
  ['of a buffer that is written from', BlkType.OUT, 6 << 20],
  ['of a buffer that is read into', BlkType.IN, 6 << 20],
])('memory %s', async (_what, type, at) => {
  const [torn, other] = [await device(), await device()];
  await works(torn.driver);
  const before = rigs[0]!.fault;
  const written: number[] = [];
  const submit = before.submit.bind(before);
  before.submit = (request) => {
    written.push(request.op);
    submit(request);
  };
  add(torn.driver, type, at);
  shrink(torn.front, 4 << 20);
  torn.driver.kick.signal();
  await torn.front.ended();
  await rigs[0]!.idle();
  // Zeros in the place of what is gone are not what the guest has written.
  if (type === BlkType.OUT) expect(written).toEqual([]);
  await works(other.driver);
});

test('of half a segment: what is left of it is no range to discard', async () => {
  const { driver, front } = await device();
  await works(driver);
  const { fault } = rigs[0]!;
  const done: number[] = [];
  const submit = fault.submit.bind(fault);
  fault.submit = (request) => {
    done.push(request.op);
    submit(request);
  };
  // { u64 sector } is gone, { u32 sectors; u32 flags } is not.
  front.bytes.writeUInt32LE(800, 6 << 20);
  front.bytes.writeUInt32LE(8, DATA);
  const segment = [
    { at: 6 << 20, length: 8 },
    { at: DATA, length: 8 },
  ];
  driver.add(requestParts(front, 0, BlkType.DISCARD, 0, segment).parts);
  shrink(front, 4 << 20);
  driver.kick.signal();
  await front.ended();
  await rigs[0]!.idle();
  expect(done).toEqual([]);
});

test('memory of a ring', async () => {
  const [torn, other] = [await device(), await device()];
  await works(torn.driver);
  shrink(torn.front, 0);
  torn.driver.kick.signal();
  await torn.front.ended();
  await rigs[0]!.idle();
  await works(other.driver);
});

test('a mapping that is larger than any memory here may be is refused, by the device and by who maps', async () => {
  const tooLarge = 4 * GiB + 4096;
  // Sparse: it takes nothing.
  const fd = createMemfd('large', tooLarge);
  for (let i = 0; i < 20; i++) {
    expect(() => mapShared(fd, 0, tooLarge, 4096)).toThrow(RangeError);
    expect(() => mapAnonymous(tooLarge)).toThrow(RangeError);
  }
  const { front } = await device();
  const log = Buffer.alloc(16);
  log.writeBigUInt64LE(BigInt(tooLarge), 0);
  expect(await front.acknowledged(Request.SET_LOG_BASE, log, [fd])).not.toBe(0);
  expect(mapAnonymous(4096).bytes).toHaveLength(4096);
});
