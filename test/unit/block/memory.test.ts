import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  BlockFlag,
  BlockOp,
  BlockRequest,
  CheckedDevice,
  MemoryDevice,
  type MemoryDeviceOptions,
} from '../../../src/block/index.js';
import type { RawstorError } from '../../../src/common/errors.js';
import { KiB, MiB } from '../../../src/common/units.js';
import { createIo, heapMemory, type Io } from '../../../src/io/index.js';

let io: Io;
beforeAll(() => {
  io = createIo({ poolBytes: 4 * MiB });
});
afterAll(() => io.close());

interface Wanted {
  op: BlockOp;
  offset?: number;
  length?: number;
  flags?: number;
  data?: Buffer;
}

function make(options: MemoryDeviceOptions) {
  const memory = new MemoryDevice(io, options);
  return { memory, device: new CheckedDevice(memory) };
}

function run(device: CheckedDevice, wanted: Wanted): Promise<{ error: RawstorError | null; data: Buffer }> {
  return new Promise((resolve) => {
    const request = new BlockRequest({
      blockDone: (done, error) => resolve({ error, data: done.slices.toBuffer() }),
    });
    request.op = wanted.op;
    request.flags = wanted.flags ?? 0;
    request.offset = wanted.offset ?? 0;
    request.length = wanted.data?.length ?? wanted.length ?? 0;
    if (wanted.op === BlockOp.READ || wanted.op === BlockOp.WRITE) {
      // Two slices, so that requests that straddle memories are tried all along.
      const half = request.length >= 1024 ? 512 : 0;
      const memory = heapMemory(request.length + 7);
      wanted.data?.copy(memory.bytes, 7);
      if (half > 0) request.slices.add(memory, 7, half);
      request.slices.add(memory, 7 + half, request.length - half);
    }
    device.submit(request);
  });
}

test('any history of writes, zeroes and discards reads back as a plain buffer would', async () => {
  const sizeBytes = 512 * KiB;
  const range = fc
    .tuple(fc.integer({ min: 0, max: 1023 }), fc.integer({ min: 1, max: 400 }))
    .map(([at, blocks]) => ({ offset: at * 512, length: Math.min(blocks, 1024 - at) * 512 }));
  const step = fc.record({
    range,
    op: fc.constantFrom(BlockOp.WRITE, BlockOp.WRITE_ZEROES, BlockOp.DISCARD, BlockOp.READ),
    unmap: fc.boolean(),
    fill: fc.integer({ min: 1, max: 255 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 20 }), async (steps) => {
      const { device } = make({ sizeBytes });
      const model = Buffer.alloc(sizeBytes);
      for (const { range, op, unmap, fill } of steps) {
        const { offset, length } = range;
        if (op === BlockOp.WRITE) {
          expect((await run(device, { op, offset, data: Buffer.alloc(length, fill) })).error).toBeNull();
          model.fill(fill, offset, offset + length);
        } else if (op === BlockOp.READ) {
          const { data } = await run(device, { op, offset, length });
          expect(data.equals(model.subarray(offset, offset + length))).toBe(true);
        } else {
          const flags = op === BlockOp.WRITE_ZEROES && unmap ? BlockFlag.MAY_UNMAP : 0;
          expect((await run(device, { op, offset, length, flags })).error).toBeNull();
          model.fill(0, offset, offset + length);
        }
      }
      const { data } = await run(device, { op: BlockOp.READ, offset: 0, length: sizeBytes });
      expect(data.equals(model)).toBe(true);
      for (const extent of await zeroRuns(device)) {
        expect(model.subarray(extent.offset, extent.offset + extent.length).every((byte) => byte === 0)).toBe(
          true,
        );
      }
    }),
    { numRuns: 60 },
  );
});

async function zeroRuns(device: CheckedDevice): Promise<{ offset: number; length: number }[]> {
  const runs: { offset: number; length: number }[] = [];
  let offset = 0;
  for (const extent of await device.extents(0, device.sizeBytes)) {
    if (extent.zero) runs.push({ offset, length: extent.lengthBytes });
    offset += extent.lengthBytes;
  }
  expect(offset).toBe(device.sizeBytes);
  return runs;
}

test('extents follow what is allocated, page by page', async () => {
  const { memory, device } = make({ sizeBytes: MiB });
  await run(device, { op: BlockOp.WRITE, offset: 128 * KiB, data: Buffer.alloc(512, 1) });
  await run(device, { op: BlockOp.WRITE_ZEROES, offset: 192 * KiB, length: 64 * KiB });
  expect(await device.extents(0, MiB)).toEqual([
    { lengthBytes: 128 * KiB, hole: true, zero: true },
    { lengthBytes: 128 * KiB, hole: false, zero: false },
    { lengthBytes: 768 * KiB, hole: true, zero: true },
  ]);
  expect(await device.extents(130 * KiB, 4 * KiB)).toEqual([
    { lengthBytes: 4 * KiB, hole: false, zero: false },
  ]);
  expect(memory.allocatedBytes).toBe(128 * KiB);
  await run(device, { op: BlockOp.DISCARD, offset: 0, length: MiB });
  expect(memory.allocatedBytes).toBe(0);
});

test('a write beyond the allowed memory fails with NO_SPACE and the device goes on', async () => {
  const { device } = make({ sizeBytes: MiB, allocatedMaxBytes: 64 * KiB });
  const data = Buffer.alloc(512, 1);
  expect((await run(device, { op: BlockOp.WRITE, offset: 0, data })).error).toBeNull();
  expect((await run(device, { op: BlockOp.WRITE, offset: 64 * KiB, data })).error?.code).toBe('NO_SPACE');
  expect((await run(device, { op: BlockOp.WRITE, offset: 1024, data })).error).toBeNull();
});

test('close waits for what is in flight', async () => {
  const { device } = make({ sizeBytes: MiB });
  const order: string[] = [];
  const write = run(device, { op: BlockOp.WRITE, offset: 0, data: Buffer.alloc(512) }).then(() =>
    order.push('done'),
  );
  const close = device.close().then(() => order.push('closed'));
  await Promise.all([write, close]);
  expect(order).toEqual(['done', 'closed']);
});
