import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { closeDescriptor, createMemfd, DescriptorSocket, mapDescriptor } from '../../../src/io/index.js';
import { deviceFeatures } from '../../../src/vhost/config-space.js';
import {
  BackendRequest,
  BlkStatus,
  BlkType,
  Feature,
  maskOf,
  ProtocolFeature,
  Request,
} from '../../../src/vhost/constants.js';
import { CAPABILITIES } from '../../../src/vhost/index.js';
import { encodeConfig, encodeU64, encodeVringState, HEADER_BYTES } from '../../../src/vhost/messages.js';
import { HIGH } from '../../fixtures/vhost/connection.js';
import { Driver } from '../../fixtures/vhost/driver.js';
import { DEVICE_BYTES, Rig, requestParts } from '../../fixtures/vhost/rig.js';

/** What QEMU 7.2 does not ask a block device for, or no guest of the tests makes happen. */

let rig: Rig;
beforeEach(() => {
  rig = new Rig();
});
afterEach(() => rig.close());

const DATA = 2 << 20;
const PAGE = 4096;

async function perform(driver: Driver, type: number, sector: number, at: number): Promise<number> {
  const data = { at, length: 4096, write: type === BlkType.IN };
  const { parts, statusAt } = requestParts(driver.front, 0, type, sector, [data]);
  driver.add(parts);
  driver.kick.signal();
  await driver.used(1);
  return driver.front.bytes[statusAt]!;
}

/** The next message of the back-end's own. */
async function told(socket: DescriptorSocket): Promise<number> {
  const header = Buffer.alloc(HEADER_BYTES);
  for (let got = 0; got < HEADER_BYTES; ) {
    const count = socket.receive(header, got, HEADER_BYTES - got, []);
    if (count === null) await new Promise((resolve) => setImmediate(resolve));
    else got += count;
  }
  return header.readUInt32LE(0);
}

async function capacitySectors(driver: Driver): Promise<bigint> {
  const asked = encodeConfig({ offset: 0, bytes: Buffer.alloc(60) });
  return (await driver.front.call(Request.GET_CONFIG, asked)).payload.readBigUInt64LE(12);
}

test('all that is offered is what the documents say', async () => {
  const offered = await rig.connect().u64(Request.GET_PROTOCOL_FEATURES);
  const { MQ, LOG_SHMFD, REPLY_ACK, BACKEND_REQ, CONFIG } = ProtocolFeature;
  const { INFLIGHT_SHMFD, RESET_DEVICE, CONFIGURE_MEM_SLOTS, STATUS } = ProtocolFeature;
  const all = [MQ, LOG_SHMFD, REPLY_ACK, BACKEND_REQ, CONFIG];
  expect(offered).toBe(maskOf([...all, INFLIGHT_SHMFD, RESET_DEVICE, CONFIGURE_MEM_SLOTS, STATUS]));
});

test.each([
  ['split', false],
  ['packed', true],
])(
  'RESET_DEVICE ends a %s ring and what was negotiated, and the device can be used anew',
  async (_name, packed) => {
    const driver = await rig.queue({ packed });
    const { front } = driver;
    expect(await perform(driver, BlkType.IN, 0, DATA)).toBe(BlkStatus.OK);
    expect(await front.acknowledged(Request.SET_STATUS, encodeU64(7n), [])).toBe(0);
    expect(await front.acknowledged(Request.RESET_DEVICE, Buffer.alloc(0))).toBe(0);
    expect(await front.u64(Request.GET_STATUS)).toBe(0n);
    const { parts } = requestParts(front, 1, BlkType.FLUSH, 0);
    driver.add(parts);
    driver.kick.signal();
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(driver.take()).toEqual([]);
    const drop = maskOf([Feature.LOG_ALL, ...(packed ? [] : [Feature.RING_PACKED])]);
    front.send(Request.SET_FEATURES, encodeU64(deviceFeatures(false) & ~drop));
    const again = new Driver(front, 1, 16, packed);
    again.start();
    expect(await perform(again, BlkType.IN, 0, DATA)).toBe(BlkStatus.OK);
  },
);

test('the status is kept as it was set, and 0 is a reset', async () => {
  const driver = await rig.queue();
  const { front } = driver;
  for (const status of [1n, 3n, 11n, 15n]) {
    front.send(Request.SET_STATUS, encodeU64(status));
    expect(await front.u64(Request.GET_STATUS)).toBe(status);
  }
  front.send(Request.SET_STATUS, encodeU64(0n));
  expect(await front.u64(Request.GET_STATUS)).toBe(0n);
  driver.add(requestParts(front, 1, BlkType.FLUSH, 0).parts);
  driver.kick.signal();
  await new Promise((resolve) => setTimeout(resolve, 30));
  expect(driver.take()).toEqual([]);
});

test('a new size is told over the back-end channel, and is there when the front-end looks', async () => {
  const driver = await rig.queue();
  const [ours, theirs] = DescriptorSocket.pair();
  driver.front.send(Request.SET_BACKEND_REQ_FD, Buffer.alloc(0), [theirs.fd]);
  expect(await capacitySectors(driver)).toBe(BigInt(DEVICE_BYTES / 512));
  Object.defineProperty(rig.fault, 'sizeBytes', { value: 2 * DEVICE_BYTES });
  rig.server.configChanged();
  expect(await told(ours)).toBe(BackendRequest.CONFIG_CHANGE);
  expect(await capacitySectors(driver)).toBe(BigInt((2 * DEVICE_BYTES) / 512));
  ours.close();
  // One that is gone is no reason to end anything.
  rig.server.configChanged();
  rig.server.configChanged();
  expect(await perform(driver, BlkType.IN, 0, DATA)).toBe(BlkStatus.OK);
});

describe.each([
  ['split', false],
  ['packed', true],
])('the dirty log with a %s ring', (_name, packed) => {
  const LOG_BYTES = 1 << 20;

  async function logged() {
    const driver = await rig.queue({ packed });
    const { front } = driver;
    const fd = createMemfd('log', LOG_BYTES);
    const log = Buffer.alloc(16);
    log.writeBigUInt64LE(BigInt(LOG_BYTES), 0);
    await front.call(Request.SET_LOG_BASE, log, [fd]);
    const bits = mapDescriptor(fd, 0, LOG_BYTES).bytes;
    const drop = maskOf(packed ? [] : [Feature.RING_PACKED]);
    const begin = (on: boolean) =>
      front.acknowledged(
        Request.SET_FEATURES,
        encodeU64(deviceFeatures(false) & ~drop & ~(on ? 0n : maskOf([Feature.LOG_ALL]))),
      );
    const pages = () => {
      const found: number[] = [];
      for (const [at, byte] of bits.entries())
        for (let bit = 0; bit < 8; bit++) if ((byte & (1 << bit)) !== 0) found.push(at * 8 + bit);
      bits.fill(0);
      return found;
    };
    const pageOf = (at: number) => Math.floor(front.guest(at) / PAGE);
    return { driver, begin, pages, pageOf };
  }

  test('has what a read fills, its status and what the device writes of the ring, and nothing else', async () => {
    const { driver, begin, pages, pageOf } = await logged();
    await begin(true);
    const high = (6 << 20) + 2048;
    expect(await perform(driver, BlkType.IN, 0, high)).toBe(BlkStatus.OK);
    const status = requestParts(driver.front, 0, BlkType.IN, 0).statusAt;
    const ring = packed ? [driver.at.device, driver.at.descriptors] : [driver.at.device];
    const expected = [high, high + PAGE, status, ...ring].map(pageOf);
    expect(pages()).toEqual([...new Set(expected)].sort((a, b) => a - b));
  });

  test('has of a write only status and ring, and nothing once logging is off', async () => {
    const { driver, begin, pages, pageOf } = await logged();
    await begin(true);
    expect(await perform(driver, BlkType.OUT, 0, DATA)).toBe(BlkStatus.OK);
    expect(pages()).not.toContain(pageOf(DATA));
    await begin(false);
    expect(await perform(driver, BlkType.IN, 0, DATA)).toBe(BlkStatus.OK);
    expect(pages()).toEqual([]);
  });
});

test('memory that is plugged in is used, and what was taken away is not', async () => {
  const driver = await rig.queue();
  const { front } = driver;
  const sizeBytes = 1 << 20;
  const guestAddress = 0x2_0000_0000;
  const fd = createMemfd('plugged', sizeBytes);
  const plugged = mapDescriptor(fd, 0, sizeBytes);
  const region = Buffer.alloc(40);
  for (const [i, value] of [guestAddress, sizeBytes, 0x7e00_0000_0000].entries())
    region.writeBigUInt64LE(BigInt(value), 8 + 8 * i);
  const slots = await front.u64(Request.GET_MAX_MEM_SLOTS);
  expect(slots).toBe(32n);
  // The fixture's parts name its own memory: here its descriptor is put right afterwards.
  const guest = front.guest.bind(front);
  front.guest = (at) => (at >= HIGH ? at : guest(at));
  for (let round = 1; round <= 3; round++) {
    expect(await front.acknowledged(Request.ADD_MEM_REG, region, [fd])).toBe(0);
    plugged.bytes.fill(round, 4096, 8192);
    expect(await perform(driver, BlkType.OUT, 8 * round, guestAddress + 4096)).toBe(BlkStatus.OK);
    expect(await perform(driver, BlkType.IN, 8 * round, guestAddress)).toBe(BlkStatus.OK);
    expect(plugged.bytes.subarray(0, 4096)).toEqual(Buffer.alloc(4096, round));
    expect(await front.acknowledged(Request.REM_MEM_REG, region)).toBe(0);
  }
  const { parts } = requestParts(front, 0, BlkType.IN, 0, [{ at: guestAddress, length: 4096, write: true }]);
  driver.add(parts);
  driver.kick.signal();
  const base = await front.call(Request.GET_VRING_BASE, encodeVringState({ index: 0, number: 0 }));
  expect(base.payload.readUInt32LE(0)).toBe(0);
  expect(driver.take()).toEqual([]);
  closeDescriptor(fd);
});

test('the description for QEMU’s users names a program of ours, of the type that it says it is', () => {
  const root = new URL('../../../', import.meta.url);
  const read = (path: string) => JSON.parse(readFileSync(new URL(path, root), 'utf8'));
  const { description, type, binary, ...others } = read('share/qemu/vhost-user/50-rawstor-blk.json');
  expect(others).toEqual({});
  expect(description.length).toBeGreaterThan(0);
  expect(type).toBe(CAPABILITIES.type);
  expect(Object.keys(read('package.json').bin)).toContain(binary.replace('/usr/bin/', ''));
});

test('the device is told when the guest stops and begins: with its first ring, after its last', async () => {
  const told: boolean[] = [];
  const goesOn: boolean[] = [];
  const rest = (resting: boolean, again: boolean) => {
    told.push(resting);
    if (!resting) goesOn.push(again);
  };
  Object.defineProperty(rig.fault, 'rest', { value: rest });
  const driver = await rig.queue();
  const other = new Driver(driver.front, 1, 16, false, 7 << 20);
  other.start();
  expect(await perform(driver, BlkType.IN, 0, DATA)).toBe(BlkStatus.OK);
  expect(told).toEqual([false]);
  const stop = (index: number) =>
    driver.front.call(Request.GET_VRING_BASE, encodeVringState({ index, number: 0 }));
  await stop(0);
  expect(told).toEqual([false]);
  await stop(1);
  expect(told).toEqual([false, true]);
  other.start(0);
  await driver.front.u64(Request.GET_STATUS);
  expect(told).toEqual([false, true, false]);
  driver.front.close();
  await rig.idle();
  expect(told).toEqual([false, true, false, true]);
  // It was the one that has stopped; the next is another.
  expect(goesOn).toEqual([false, true]);
  expect(await perform(await rig.queue(), BlkType.IN, 0, DATA)).toBe(BlkStatus.OK);
  expect(goesOn).toEqual([false, true, false]);
});
