import fc from 'fast-check';
import { afterEach, expect, test } from 'vitest';
import { BlockOp } from '../../../src/block/index.js';
import { KiB, MiB } from '../../../src/common/units.js';
import { allocateRange, seek } from '../../../src/fuse/file-ranges.js';
import { Requests } from './requests.js';
import { FILE_MAX_BYTES, FileRig } from './rig.js';

let rig: FileRig;
afterEach(() => rig.stop());

const requests = new Requests(() => rig);
const offsets = fc.oneof(
  fc.nat(3000),
  fc.nat(FILE_MAX_BYTES),
  fc.nat(4000).map((n) => n * 512),
);
const lengths = fc.oneof(
  fc.integer({ min: 1, max: 1500 }),
  fc.integer({ min: 1, max: MiB }),
  fc.constant(MiB),
);
const operation = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('write'), offset: offsets, length: lengths }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('read'), offset: offsets, length: lengths }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('truncate'), offset: offsets, length: lengths }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('zero'), offset: offsets, length: lengths }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('allocate'), offset: offsets, length: lengths }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('reopen'), offset: offsets, length: lengths }) },
);

interface Operation {
  kind: string;
  offset: number;
  length: number;
}

/** What a file is: bytes, and how many of them. */
class Model {
  readonly bytes = Buffer.alloc(FILE_MAX_BYTES + 2 * MiB);
  size = 0;

  write(offset: number, data: Buffer): void {
    data.copy(this.bytes, offset);
    this.size = Math.max(this.size, offset + data.length);
  }

  truncate(size: number): void {
    this.bytes.fill(0, size);
    this.size = size;
  }

  read(offset: number, length: number): Buffer {
    return this.bytes.subarray(Math.min(offset, this.size), Math.min(offset + length, this.size));
  }
}

async function apply(model: Model, { kind, offset, length }: Operation, fill: number) {
  switch (kind) {
    case 'write': {
      const data = Buffer.alloc(length, fill);
      await requests.write(offset, data, fill % 3 === 0);
      return model.write(offset, data);
    }
    case 'read':
      return expect(Buffer.compare(await requests.read(offset, length), model.read(offset, length))).toBe(0);
    case 'truncate':
      await rig.file.truncate(offset);
      return model.truncate(offset);
    case 'zero':
      await rig.file.range('zero', offset, offset + length, true);
      return void model.bytes.fill(0, offset, Math.min(offset + length, Math.max(offset, model.size)));
    case 'allocate':
      await rig.file.range('allocate', offset, offset + length, false);
      model.size = Math.max(model.size, offset + length);
      return;
    default:
      // Closed by one mount, opened by another; or the process was killed after a sync.
      if (fill % 2 === 0) await rig.file.close();
      else await rig.file.sync();
      await rig.reopen();
  }
}

test('a file of any length does as one in memory does, whatever is done to it', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(operation, { maxLength: 25 }), async (operations) => {
      rig = new FileRig(512, { sizeBytes: 0, modifiedWallMs: 1 });
      await rig.file.open(true);
      const model = new Model();
      for (const [i, each] of operations.entries()) await apply(model, each, (i % 250) + 1);
      expect(rig.file.sizeBytes).toBe(model.size);
      expect(Buffer.compare(await requests.read(0, MiB), model.read(0, MiB))).toBe(0);
      await rig.file.close();
      expect(rig.volume.file!.sizeBytes).toBe(model.size);
      expect(rig.volume.sizeBytes).toBe(Math.max(512, Math.ceil(model.size / 512) * 512));
      await rig.stop();
    }),
    { numRuns: process.env.RAWSTOR_TEST_LONG === '1' ? 1000 : 60 },
  );
  rig = new FileRig(512, null);
});

test('writes to one sector at the same time lose nothing of each other', async () => {
  rig = new FileRig(1024, { sizeBytes: 1000, modifiedWallMs: 1 });
  await rig.file.open(true);
  const parts = Array.from({ length: 100 }, (_, i) => ({ at: i * 10, fill: i + 1 }));
  await Promise.all(parts.map(({ at, fill }) => requests.write(at, Buffer.alloc(10, fill))));
  const expected = Buffer.concat(parts.map(({ fill }) => Buffer.alloc(10, fill)));
  expect(await requests.read(0, 4096)).toEqual(expected);
});

test('what a write that failed left behind the end is never seen', async () => {
  rig = new FileRig(64 * KiB, { sizeBytes: 0, modifiedWallMs: 1 });
  await rig.file.open(true);
  await requests.write(0, Buffer.alloc(100, 1));
  // One that begins within a sector takes two requests: the first of them is done.
  rig.fault.setRules({ op: BlockOp.WRITE, range: { offset: MiB, length: 512 }, error: 'IO' });
  await expect(requests.write(100, Buffer.alloc(MiB, 7))).rejects.toThrow();
  rig.fault.setRules();
  expect(rig.file.sizeBytes).toBe(100);
  await requests.write(2 * MiB, Buffer.alloc(10, 9));
  expect(Buffer.compare(await requests.read(100, MiB), Buffer.alloc(MiB))).toBe(0);
});

test('after a crash nothing shows that the file had not come to', async () => {
  rig = new FileRig(512, { sizeBytes: 0, modifiedWallMs: 1 });
  await rig.file.open(true);
  await requests.write(0, Buffer.alloc(700, 1));
  await rig.file.sync();
  await requests.write(700, Buffer.alloc(3000, 2));
  expect(rig.volume.sizeBytes).toBeGreaterThan(3700);
  rig.volume.refuses = true;
  await rig.reopen();
  expect(rig.file.sizeBytes).toBe(700);
  rig.volume.refuses = false;
  await rig.file.truncate(2000);
  expect((await requests.read(0, 2000)).subarray(700)).toEqual(Buffer.alloc(1300));
  await rig.file.close();
  expect(rig.volume.sizeBytes).toBe(2048);
});

test('a durable write that makes the file longer has that on record when it is answered', async () => {
  rig = new FileRig(512, { sizeBytes: 0, modifiedWallMs: 1 });
  await rig.file.open(true);
  await requests.write(0, Buffer.alloc(100, 1), true);
  expect(rig.volume.file).toMatchObject({ sizeBytes: 100 });
  await requests.write(100, Buffer.alloc(100, 1));
  expect(rig.volume.file).toMatchObject({ sizeBytes: 100 });
  rig.volume.refuses = true;
  await expect(requests.write(200, Buffer.alloc(100, 1), true)).rejects.toThrow('refused');
});

test('data and holes are found, up to the last byte', async () => {
  rig = new FileRig(512, { sizeBytes: 0, modifiedWallMs: 1 });
  await rig.file.open(true);
  const size = MiB + 1234;
  await rig.file.truncate(size);
  await requests.write(512 * KiB, Buffer.alloc(1000, 1));
  const find = (offset: number, wanted: 'data' | 'hole') => seek(rig.volume, size, offset, wanted);
  expect(await find(0, 'hole')).toBe(0);
  expect(await find(5, 'data')).toBe(512 * KiB);
  expect(await find(512 * KiB + 5, 'data')).toBe(512 * KiB + 5);
  expect(await find(512 * KiB + 5, 'hole')).toBe(576 * KiB);
  expect(await find(600 * KiB, 'data')).toBeNull();
  await requests.write(size - 1, Buffer.alloc(1, 1));
  expect(await find(size - 1, 'data')).toBe(size - 1);
  expect(await find(size - 1, 'hole')).toBe(size);
});

test('a search for data or holes ends where the device was made smaller meanwhile', async () => {
  rig = new FileRig(64 * KiB, { sizeBytes: 64 * KiB, modifiedWallMs: 1 });
  const [size, smaller] = [64 * KiB, 4 * KiB];
  // As devices do: nothing is told of what lies behind their present end.
  let asked = 0;
  const device = {
    ...{ sizeBytes: size, limits: rig.volume.limits, readOnly: false, multiConnection: true },
    submit: () => {},
    close: async () => {},
    extents: async (offset: number, length: number) => {
      if (++asked > 10) throw new Error('asked for ever');
      const lengthBytes = Math.min(length, smaller - offset);
      return lengthBytes > 0 ? [{ lengthBytes, hole: true, zero: true }] : [];
    },
  };
  expect(await seek(device, size, 0, 'data')).toBeNull();
  expect(await seek(device, size, 8 * KiB, 'data')).toBeNull();
  expect(await seek(device, size, 8 * KiB, 'hole')).toBe(size);
  await allocateRange(device, 8 * KiB, size);
});
