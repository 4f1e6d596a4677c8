import { closeSync, openSync, readdirSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import { type BlockRequest, Withdrawn } from '../../../src/block/index.js';
import { mapDescriptor } from '../../../src/io/index.js';
import { deviceFeatures } from '../../../src/vhost/config-space.js';
import { BlkType, Feature, maskOf, Request } from '../../../src/vhost/constants.js';
import { encodeU64 } from '../../../src/vhost/messages.js';
import { SplitQueue } from '../../../src/vhost/split-queue.js';
import { Driver } from '../../fixtures/vhost/driver.js';
import { Rig, requestParts } from '../../fixtures/vhost/rig.js';

/** What a front-end, or a guest, can leave behind or keep up that would hurt who serves it. */

const DATA = 2 << 20;
const SIZE = 32;
let rig: Rig;
afterEach(() => rig.close());
const turn = () => new Promise((resolve) => setImmediate(resolve));

async function withInflight(packed: boolean) {
  rig = new Rig();
  const front = rig.connect();
  const drop = maskOf([Feature.LOG_ALL, ...(packed ? [] : [Feature.RING_PACKED])]);
  await front.negotiate(deviceFeatures(false) & ~drop);
  await front.shareMemory();
  const asked = Buffer.alloc(24);
  asked.writeUInt16LE(1, 16);
  asked.writeUInt16LE(SIZE, 18);
  const { payload, fds } = await front.call(Request.GET_INFLIGHT_FD, asked);
  const { bytes } = mapDescriptor(fds[0]!, 0, 4096);
  return { front, area: { payload, fds }, bytes, driver: new Driver(front, 0, SIZE, packed) };
}

it.each([
  ['split', false, 16],
  ['packed', true, 32],
])(
  'a request withdrawn from a volume that is not here is neither answered nor taken off what is in flight (%s)',
  async (_name, packed, entriesAt) => {
    const { front, area, bytes, driver } = await withInflight(packed);
    const waiting: BlockRequest[] = [];
    rig.fault.submit = (block) => void waiting.push(block);
    Object.assign(rig.fault, {
      withdraw: () => {
        for (const block of waiting.splice(0)) {
          setImmediate(() => block.owner.blockDone(block, new Withdrawn('vm1')));
        }
      },
    });
    front.send(Request.SET_INFLIGHT_FD, area.payload, area.fds);
    driver.start();
    const { parts, statusAt } = requestParts(front, 0, BlkType.OUT, 0, [{ at: DATA, length: 4096 }]);
    driver.add(parts);
    driver.kick.signal();
    while (waiting.length === 0) await turn();
    await rig.server.close();
    expect(front.bytes[statusAt]).toBe(0xff);
    expect(driver.take()).toEqual([]);
    const inFlight = Array.from({ length: SIZE }, (_, i) => bytes[entriesAt + i * entriesAt]!);
    expect(inFlight.filter((flag) => flag === 1)).toHaveLength(1);
  },
);

it('writes that wait for memory to be copied to are not begun for a front-end that is gone', async () => {
  rig = new Rig();
  const driver = await rig.queue({ size: 256 });
  const submitted: BlockRequest[] = [];
  rig.fault.submit = (block) => void submitted.push(block);
  Object.assign(rig.fault, {
    withdraw: () => {
      for (const block of submitted) setImmediate(() => block.owner.blockDone(block, new Withdrawn('vm1')));
    },
  });
  const writes = 40;
  const statuses = Array.from({ length: writes }, (_, slot) => {
    const data = [{ at: DATA, length: 1 << 20 }];
    const { parts, statusAt } = requestParts(driver.front, slot, BlkType.OUT, 0, data);
    driver.add(parts);
    return statusAt;
  });
  driver.kick.signal();
  while (submitted.length === 0) await turn();
  const begun = submitted.length;
  expect(begun).toBeLessThan(writes);
  rig.front.close();
  while (rig.server.connected && submitted.length === begun) await turn();
  expect(submitted).toHaveLength(begun);
  expect(statuses.every((at) => driver.front.bytes[at] === 0xff)).toBe(true);
});

it('a write in pieces is left, not answered, once the front-end is gone', async () => {
  rig = new Rig();
  const driver = await rig.queue();
  const submitted: BlockRequest[] = [];
  rig.fault.submit = (block) => void submitted.push(block);
  const data = Array.from({ length: 4 }, () => ({ at: DATA, length: 2 << 20 }));
  const { parts, statusAt } = requestParts(driver.front, 0, BlkType.OUT, 0, data);
  driver.add(parts);
  driver.kick.signal();
  while (submitted.length === 0) await turn();
  const closing = rig.server.close();
  submitted[0]!.owner.blockDone(submitted[0]!, null);
  expect(submitted).toHaveLength(1);
  await closing;
  expect(driver.front.bytes[statusAt]).toBe(0xff);
  expect(driver.take()).toEqual([]);
});

describe('an in-flight area of a packed ring that is no set of chains is refused', () => {
  const entry = (bytes: Buffer, index: number, next: number, number: number, inFlight = 1) => {
    const at = 32 + index * 32;
    bytes.writeUInt16LE(inFlight, at);
    bytes.writeUInt16LE(next, at + 2);
    bytes.writeUInt16LE(number, at + 6);
    bytes.writeUInt16LE(1, at + 18);
    bytes.writeUInt32LE(512, at + 20);
  };
  it.each<[string, (bytes: Buffer) => void]>([
    ['chains that share entries', (bytes) => Array.from({ length: 4 }, (_, i) => entry(bytes, i, i + 1, 8))],
    ['a loop', (bytes) => [entry(bytes, 0, 1, 9), entry(bytes, 1, 0, 1, 0)]],
    ['an entry beyond the end', (bytes) => entry(bytes, 0, SIZE, 2)],
    ['more than there are', (bytes) => entry(bytes, 0, 1, 0xffff)],
  ])('%s', async (_what, spoil) => {
    const { front, area, bytes, driver } = await withInflight(true);
    bytes.writeUInt16LE(1, 8);
    bytes.writeUInt16LE(SIZE, 10);
    bytes.writeUInt16LE(0x8000, 16);
    bytes.writeUInt16LE(0x8000, 18);
    spoil(bytes);
    front.send(Request.SET_INFLIGHT_FD, area.payload, area.fds);
    driver.start();
    driver.kick.signal();
    await rig.idle();
    expect(rig.faults).toEqual(['what the in-flight area says was taken is no set of chains']);
  });

  it('and one at an odd place', async () => {
    const { front, area } = await withInflight(true);
    const moved = Buffer.from(area.payload);
    moved.writeBigUInt64LE(1n, 8);
    moved.writeBigUInt64LE(1024n, 0);
    expect(await front.acknowledged(Request.SET_INFLIGHT_FD, moved, area.fds)).not.toBe(0);
    expect(rig.faults).toEqual(['the in-flight area is not aligned']);
  });
});

it('a counter of the in-flight area that is at its end goes round', async () => {
  const { front, area, bytes, driver } = await withInflight(false);
  bytes.writeUInt16LE(1, 8);
  bytes.writeUInt16LE(SIZE, 10);
  bytes[16] = 1;
  bytes.writeBigUInt64LE(0xffff_ffff_ffff_ffffn, 24);
  driver.add(requestParts(front, 0, BlkType.FLUSH, 0).parts);
  front.send(Request.SET_INFLIGHT_FD, area.payload, area.fds);
  driver.start();
  await driver.used(1);
  driver.add(requestParts(front, 1, BlkType.FLUSH, 0).parts);
  driver.kick.signal();
  await driver.used(1);
  expect(rig.faults).toEqual([]);
});

it('a guest that keeps a ring full lets others in', async () => {
  rig = new Rig();
  const driver = await rig.queue({ size: 256, without: [Feature.EVENT_IDX] });
  const { front } = rig;
  const availableAt = driver.at.driver + 2;
  driver.add(requestParts(front, 0, BlkType.GET_ID, 0, [{ at: DATA, length: 20, write: true }]).parts);
  driver.kick.signal();
  await driver.used(1);
  for (let i = 0; i < 256; i++) front.bytes.writeUInt16LE(0, driver.at.driver + 4 + 2 * i);
  const more = (count: number) => {
    const index = (front.bytes.readUInt16LE(availableAt) + count) & 0xffff;
    front.bytes.writeUInt16LE(index, availableAt);
  };
  // The guest's other processor: here in the same thread, right after each is given back.
  const { give } = SplitQueue.prototype;
  let [given, letIn] = [0, 0];
  SplitQueue.prototype.give = function (chain, writtenBytes) {
    give.call(this, chain, writtenBytes);
    if (++given < 20_000) more(1);
  };
  try {
    more(200);
    driver.kick.signal();
    while (given < 20_000) {
      await turn();
      if (given > 100 && given < 20_000) letIn++;
    }
  } finally {
    SplitQueue.prototype.give = give;
  }
  expect(letIn).toBeGreaterThan(0);
});

it('takes nothing for a signal that is no eventfd', async () => {
  rig = new Rig();
  const front = rig.connect();
  await front.negotiate(deviceFeatures(false) & ~maskOf([Feature.LOG_ALL]));
  const before = readdirSync('/proc/self/fd').length;
  for (const path of ['/dev/null', '/dev/tty', '/proc/self/stat']) {
    let fd: number;
    try {
      fd = openSync(path, 'r');
    } catch {
      continue;
    }
    for (const request of [Request.SET_VRING_KICK, Request.SET_VRING_CALL, Request.SET_VRING_ERR]) {
      expect(await front.acknowledged(request, encodeU64(0n), [fd])).not.toBe(0);
    }
    closeSync(fd);
  }
  expect(new Set(rig.faults)).toEqual(new Set(['a descriptor to signal with that is no eventfd']));
  expect(readdirSync('/proc/self/fd').length).toBe(before);
});
