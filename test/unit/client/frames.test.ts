import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, expect, test } from 'vitest';
import { MemoryDevice } from '../../../src/block/index.js';
import {
  CodedWriter,
  type Coding,
  type Compression,
  joinedContents,
  readCoded,
  slotBytes,
  type WriteCoding,
} from '../../../src/client/immutable/frames/index.js';
import { FRAME_BYTES, indexBytes, streamMaxBytes } from '../../../src/client/immutable/frames/layout.js';
import type { Place } from '../../../src/client/immutable/place.js';
import { Transfers } from '../../../src/client/immutable/transfers.js';
import { KiB, MiB } from '../../../src/common/units.js';
import { createIo } from '../../../src/io/index.js';
import { loadNative } from '../../../src/native/index.js';

/** Contents as streams of frames: what was written is read, whole and in parts, and nothing else passes for it. */

const io = createIo({ poolBytes: 32 * MiB });
afterAll(() => io.close());
const transfers = new Transfers(io);
const KEY = randomBytes(32);

interface Written {
  readonly stored: Buffer;
  readonly coding: Coding;
  readonly asked: readonly number[];
}

async function write(content: Buffer, coding: WriteCoding, step = 100_000): Promise<Written> {
  const device = new MemoryDevice(io, { sizeBytes: 16 * MiB });
  const asked: number[] = [];
  const place = {
    object: { volume: device, id: 'o', version: 1, usable: true },
    offset: 0,
    alone: false,
    release() {},
  };
  const writer = new CodedWriter(transfers, content.length, coding, async (bytes) => {
    asked.push(bytes);
    return place as unknown as Place;
  });
  for (let at = 0; at < content.length; at += step)
    await writer.write(Buffer.from(content.subarray(at, at + step)));
  const [extent] = await writer.finish();
  const parts: Buffer[] = [];
  for (let at = 0; at < (extent?.length ?? 0); at += MiB) {
    parts.push(await transfers.read(device, at, Math.min(MiB, extent!.length - at)));
  }
  return { stored: Buffer.concat(parts), coding: writer.coding(), asked };
}

interface Reading {
  readonly key?: Buffer | null;
  /** Gets the ranges that are read. */
  readonly ranges?: [number, number][];
}

async function read(
  { stored, coding }: Pick<Written, 'stored' | 'coding'>,
  from: number,
  to: number,
  more: Reading = {},
) {
  const source = async function* (start: number, end: number): AsyncGenerator<Buffer, undefined> {
    more.ranges?.push([start, end]);
    for (let at = start; at < end; at += 70_000)
      yield Buffer.from(stored.subarray(at, Math.min(end, at + 70_000)));
  };
  const key = more.key === undefined ? KEY : more.key;
  const parts: Buffer[] = [];
  for await (const bytes of readCoded({ stored: source, coding, key, name: 'b/k' }, from, to))
    parts.push(bytes);
  return Buffer.concat(parts);
}

/** Half of it words, half of it noise, by turns of frames. */
function mixed(bytes: number): Buffer {
  const content = randomBytes(bytes);
  for (let at = 0; at < bytes; at += 2 * FRAME_BYTES)
    content.fill('words and words ', at, Math.min(at + FRAME_BYTES, bytes));
  return content;
}

const CODINGS: [string, WriteCoding][] = [
  ['zstd', { compression: 'zstd', key: null }],
  ['lz4', { compression: 'lz4', key: null }],
  ['sealed', { compression: null, key: KEY }],
  ['zstd, sealed', { compression: 'zstd', key: KEY }],
];

test.each(CODINGS)('%s: what was written is read, whole and any range of it', async (_name, coding) => {
  for (const length of [0, 1, 511, FRAME_BYTES, FRAME_BYTES + 1, 3 * MiB + 77]) {
    const content = mixed(length);
    const written = await write(content, coding, 1 + (length % 90_000) + 10_000);
    expect((await read(written, 0, length)).equals(content)).toBe(true);
    await fc.assert(
      fc.asyncProperty(fc.nat(length), fc.nat(length), async (a, b) => {
        const [from, to] = [Math.min(a, b), Math.max(a, b)];
        expect((await read(written, from, to)).equals(content.subarray(from, to))).toBe(true);
      }),
      { numRuns: 8 },
    );
  }
});

test.each(['zstd', 'lz4'] as Compression[])(
  '%s: what shrinks is stored small, what does not as it is',
  async (compression) => {
    const words = await write(Buffer.alloc(4 * MiB, 'words and words '), { compression, key: null });
    expect(words.stored.length).toBeLessThan(200_000);
    // It asked for no more room than it took.
    expect(words.asked).toEqual([words.stored.length]);
    const noise = await write(randomBytes(4 * MiB), { compression, key: null });
    expect(noise.stored.length).toBe(4 * MiB + indexBytes(32));
    expect(noise.asked).toEqual([streamMaxBytes(4 * MiB)]);
  },
);

test('a range is read by two entries of the index and the frames that it needs', async () => {
  const content = randomBytes(6 * MiB);
  const written = await write(content, { compression: 'zstd', key: KEY });
  const ranges: [number, number][] = [];
  const from = 30 * FRAME_BYTES - 10;
  const found = await read(written, from, from + 20, { ranges });
  expect(found.equals(content.subarray(from, from + 20))).toBe(true);
  expect(ranges.map(([start, end]) => end - start)).toEqual([24, 2 * (FRAME_BYTES + 16)]);
});

test('a sealed content opens under its key alone, whole as it was sealed, and in its place', async () => {
  const content = mixed(5 * FRAME_BYTES);
  const [one, other] = [
    await write(content, { compression: 'zstd', key: KEY }),
    await write(content, { compression: 'zstd', key: KEY }),
  ];
  const all = (stored: Buffer, coding = one.coding, key: Buffer | null = KEY) =>
    read({ stored, coding }, 0, content.length, { key });
  await expect(all(one.stored, one.coding, null)).rejects.toMatchObject({ code: 'DENIED' });
  await expect(all(one.stored, one.coding, randomBytes(32))).rejects.toMatchObject({ code: 'CHECKSUM' });
  // Another stream of the very same content and key.
  await expect(all(other.stored)).rejects.toMatchObject({ code: 'CHECKSUM' });
  expect(one.stored.includes('words and words')).toBe(false);
  // Frames of noise, 1 and 3, change places: they are as long.
  const index = (frame: number) => one.stored.readUIntLE(16 + 8 * frame, 6);
  const swapped = Buffer.from(one.stored);
  one.stored.copy(swapped, index(0), index(2), index(3));
  one.stored.copy(swapped, index(2), index(0), index(1));
  await expect(all(swapped)).rejects.toMatchObject({ code: 'CHECKSUM' });
  // One frame less: of the row, and of what is stored.
  const shorter = { ...one.coding, streams: [[1, 4 * FRAME_BYTES, one.stored.length] as const] };
  await expect(read({ stored: one.stored, coding: shorter }, 0, 4 * FRAME_BYTES)).rejects.toMatchObject({
    code: 'CHECKSUM',
  });
  await expect(all(one.stored.subarray(0, index(3)))).rejects.toMatchObject({ code: 'CHECKSUM' });
});

test('whatever byte is changed, a sealed content is what it was or an error', async () => {
  const content = mixed(2 * FRAME_BYTES + 999);
  const { stored, coding } = await write(content, { compression: 'lz4', key: KEY });
  const places = [
    ...Array(60).keys(),
    ...Array.from({ length: 60 }, () => Math.floor(Math.random() * stored.length)),
  ];
  for (const at of places) {
    const bad = Buffer.from(stored);
    bad[at]! ^= 1 << (at % 8);
    await expect(read({ stored: bad, coding }, 0, content.length)).rejects.toMatchObject({
      code: 'CHECKSUM',
    });
  }
});

/** As zstd makes it. */
function bigZeros(bytes: number): Promise<Buffer> {
  const to = Buffer.alloc(MiB);
  return new Promise((resolve) => {
    loadNative().codecRunLater(1, true, 3, Buffer.alloc(bytes), to, (length) =>
      resolve(to.subarray(0, length)),
    );
  });
}

test('what a frame claims is never more than a frame', async () => {
  const content = Buffer.alloc(1000, 1);
  const { stored, coding } = await write(content, { compression: 'zstd', key: null });
  // 64 MiB of zeros.
  const bomb = await bigZeros(64 * MiB);
  const claims = (end: number, method: number, frame = bomb) => {
    const bad = Buffer.concat([stored.subarray(0, indexBytes(1)), frame]);
    bad.writeUIntLE(end, 16, 6);
    bad.writeUInt16LE(method, 22);
    const changed = { ...coding, streams: [[1, 1000, bad.length] as const] };
    return read({ stored: bad, coding: changed }, 0, 1000);
  };
  const small = bomb.subarray(0, 900);
  for (const [end, method, frame] of [
    [24 + 900, 1, small],
    [24 + 900, 2, small],
    [24 + 900, 9, small],
    [24 + 900, 0, small],
    [2 ** 48 - 1, 1, bomb],
    [24, 1, bomb],
    [3, 1, bomb],
    [24 + bomb.length, 1, bomb],
  ] as const)
    await expect(claims(end, method, frame)).rejects.toMatchObject({ code: 'CHECKSUM' });
  // 128 KiB of nothing in the place of 1000 bytes: it is not made at all.
  const longer = await bigZeros(128 * KiB);
  await expect(claims(24 + longer.length, 1, longer)).rejects.toMatchObject({ code: 'CHECKSUM' });
});

test('streams that become one content are read across', async () => {
  const coding: WriteCoding = { compression: 'zstd', key: KEY };
  const lengths = [300_000, 300_000, 0, 5, 200_000];
  const parts = await Promise.all(
    lengths.map(async (length) => {
      const content = mixed(length);
      return { content, ...(await write(content, coding)) };
    }),
  );
  const slot = slotBytes(300_000);
  const objects = Buffer.alloc(8 * slot);
  const named = parts.map((part, i) => {
    part.stored.copy(objects, i * slot);
    const length = part.stored.length;
    return {
      coding: part.coding,
      extents: length === 0 ? [] : [{ objectId: 'o', version: 1, offset: i * slot, length }],
    };
  });
  const whole = joinedContents(named);
  // The first two lie in slots as long as theirs, and become one.
  expect(whole.extents.map(({ offset }) => offset / slot)).toEqual([0, 3, 4]);
  const stored = Buffer.concat(
    whole.extents.map(({ offset, length }) => objects.subarray(offset, offset + length)),
  );
  const content = Buffer.concat(parts.map((part) => part.content));
  for (const [from, to] of [
    [0, content.length],
    [299_999, 300_001],
    [599_990, 600_010],
    [600_004, 600_006],
  ] as const)
    expect((await read({ stored, coding: whole.coding! }, from, to)).equals(content.subarray(from, to))).toBe(
      true,
    );
});
