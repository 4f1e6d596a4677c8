import { expect, test } from 'vitest';
import {
  type BlockDevice,
  BlockFlag,
  BlockOp,
  type BlockOwner,
  BlockRequest,
  CheckedDevice,
  type Extent,
} from '../../../src/block/index.js';
import { KiB, MiB } from '../../../src/common/units.js';
import { heapMemory } from '../../../src/io/index.js';

/** A device that does what the test tells it, right or wrong. */
class Puppet implements BlockDevice {
  sizeBytes = MiB;
  readOnly = false;
  multiConnection = true;
  limits = {
    blockSizeMinBytes: 512,
    blockSizePreferredBytes: 4096,
    payloadMaxBytes: 64 * KiB,
    rangeMaxBytes: 256 * KiB,
  };
  seen: BlockRequest[] = [];
  onSubmit: (request: BlockRequest) => void = () => {};
  answer: Extent[] = [];
  submit(request: BlockRequest): void {
    this.seen.push(request);
    this.onSubmit(request);
  }
  async extents(): Promise<Extent[]> {
    return this.answer;
  }
  async close(): Promise<void> {}
}

const owner: BlockOwner = { blockDone: () => {} };

function request(change: Partial<BlockRequest> & { sliceBytes?: number[] } = {}): BlockRequest {
  const made = new BlockRequest(owner);
  const { sliceBytes, ...rest } = change;
  Object.assign(made, { op: BlockOp.READ, offset: 0, length: 4096, ...rest });
  const memory = heapMemory(128 * KiB);
  for (const length of sliceBytes ?? [made.length]) made.slices.add(memory, 0, length);
  return made;
}

const WRONG: [string, BlockRequest, RegExp][] = [
  ['past the end', request({ offset: MiB - 512 }), /reaches past/],
  ['before the start', request({ offset: -512 }), /not a place/],
  ['a fraction', request({ offset: 0.5 }), /not a place/],
  ['unaligned offset', request({ offset: 100 }), /whole blocks/],
  ['unaligned length', request({ length: 100 }), /whole blocks/],
  ['empty', request({ length: 0 }), /empty range/],
  ['payload too long', request({ length: 128 * KiB }), /longer than the device takes/],
  ['range too long', request({ op: BlockOp.DISCARD, length: 512 * KiB }), /longer than the device takes/],
  ['slices too short', request({ sliceBytes: [512] }), /slices of 512 bytes/],
  ['slice outside of its memory', request({ sliceBytes: [-512, 4608] }), /empty slice/],
  ['flag of another operation', request({ flags: BlockFlag.MAY_UNMAP }), /do not belong/],
  ['unknown operation', request({ op: 99 as BlockOp }), /no block operation 99/],
];

test.each(WRONG)('refuses a request that is wrong: %s', (_name, wrong, message) => {
  const puppet = new Puppet();
  expect(() => new CheckedDevice(puppet).submit(wrong)).toThrow(message);
  expect(puppet.seen).toEqual([]);
});

test('passes right ones on and hands the owner back', () => {
  const puppet = new Puppet();
  const device = new CheckedDevice(puppet);
  const done: BlockRequest[] = [];
  const right = request({ sliceBytes: [512, 3584] });
  right.owner = { blockDone: (finished) => done.push(finished) };
  const before = right.owner;
  device.submit(right);
  expect(puppet.seen).toEqual([right]);
  right.owner.blockDone(right, null);
  expect(done).toEqual([right]);
  expect(right.owner).toBe(before);
});

test('catches a request submitted twice, and one done twice', () => {
  const device = new CheckedDevice(new Puppet());
  const twice = request();
  device.submit(twice);
  expect(() => device.submit(twice)).toThrow(/before it was done/);
  twice.owner.blockDone(twice, null);
  expect(() => device.blockDone(twice, null)).toThrow(/done twice/);
});

test('catches an answer from within submit', () => {
  const puppet = new Puppet();
  puppet.onSubmit = (hasty) => hasty.owner.blockDone(hasty, null);
  expect(() => new CheckedDevice(puppet).submit(request())).toThrow(/from within submit/);
});

test('catches a request that changes in flight', () => {
  const device = new CheckedDevice(new Puppet());
  const moving = request();
  device.submit(moving);
  moving.offset = 4096;
  expect(() => moving.owner.blockDone(moving, null)).toThrow(/changed while/);
});

test('catches a write to a read-only device, and more in flight than allowed', () => {
  const puppet = new Puppet();
  puppet.readOnly = true;
  expect(() => new CheckedDevice(puppet).submit(request({ op: BlockOp.WRITE }))).toThrow(/read-only/);
  const narrow = new CheckedDevice(new Puppet(), { inFlightMax: 2 });
  narrow.submit(request());
  narrow.submit(request());
  expect(() => narrow.submit(request())).toThrow(/more than 2/);
});

test.each<[string, Extent[], RegExp]>([
  ['none', [], /no extent/],
  ['an empty one', [{ lengthBytes: 0, hole: false, zero: false }], /empty extent/],
  ['part of a block', [{ lengthBytes: 100, hole: false, zero: false }], /whole blocks/],
  ['too much', [{ lengthBytes: 8192, hole: false, zero: false }], /past the range/],
])('catches wrong extents: %s', async (_name, answer, message) => {
  const puppet = new Puppet();
  puppet.answer = answer;
  await expect(new CheckedDevice(puppet).extents(0, 4096)).rejects.toThrow(message);
});

test('catches a close that leaves requests unanswered, and use after it', async () => {
  const device = new CheckedDevice(new Puppet());
  device.submit(request());
  await expect(device.close()).rejects.toThrow(/unanswered/);
  expect(() => device.submit(request())).toThrow(/being closed/);
});
