import { expect, test } from 'vitest';
import { crc32cAgrees, createIo } from '../../../src/io/index.js';
import { heapMemory } from '../../../src/io/memory.js';
import { loadNative } from '../../../src/native/index.js';
import { crc32c } from '../../../src/protocol/index.js';

const native = (bytes: Buffer, at = 0, length = bytes.length) =>
  loadNative().crc32c(bytes, at, length, 0, false);

test('the check value of the polynomial', () => {
  expect(crc32c(Buffer.from('123456789'), 0, 9)).toBe(0xe3069283);
});

test('agrees with the addon at every length and offset', () => {
  const bytes = Buffer.from(Array.from({ length: 160 }, (_, i) => (i * 197 + (i >>> 3)) & 0xff));
  for (let at = 0; at < 9; at++) {
    for (let length = 0; length < 150; length++) {
      expect(crc32c(bytes, at, length)).toBe(native(bytes, at, length));
    }
  }
});

test('the ways of the addon agree with each other at every length', () => {
  const bytes = Buffer.from(Array.from({ length: 20_000 }, (_, i) => (i * 197 + (i >>> 3)) & 0xff));
  const { crc32c: sum } = loadNative();
  const lengths = [...Array.from({ length: 1600 }, (_, i) => i), 4095, 4096, 4097, 8192, 16_384, 19_900];
  for (const length of lengths) {
    const at = length % 13;
    expect(sum(bytes, at, length, 0, false), `${length}`).toBe(sum(bytes, at, length, 0, true));
    expect(sum(bytes, at, length, 77, false), `${length}`).toBe(sum(bytes, at, length, 77, true));
  }
});

test('blocks are compared with their sums up to the first that differs', () => {
  const io = createIo({ poolBytes: 1 << 22 });
  const pooled = io.pool.acquire(8 * 4096)!;
  for (const { memory, offset } of [pooled, { memory: heapMemory(8 * 4096), offset: 0 }]) {
    for (let i = 0; i < 8 * 4096; i++) memory.bytes[offset + i] = (i * 31 + (i >> 7)) & 0xff;
    const sums = Uint32Array.from({ length: 10 }, (_, i) =>
      i < 1 || i > 8 ? 0 : native(memory.bytes, offset + (i - 1) * 4096, 4096),
    );
    expect(crc32cAgrees(memory, offset, 4096, 8, sums, 1)).toBe(8);
    expect(crc32cAgrees(memory, offset, 4096, 0, sums, 10)).toBe(0);
    for (let bad = 0; bad < 8; bad++) {
      memory.bytes[offset + bad * 4096 + 17]! ^= 4;
      expect(crc32cAgrees(memory, offset, 4096, 8, sums, 1)).toBe(bad);
      memory.bytes[offset + bad * 4096 + 17]! ^= 4;
    }
  }
  expect(() => crc32cAgrees(pooled.memory, pooled.offset, 4096, 8, new Uint32Array(10), 3)).toThrow(
    RangeError,
  );
  pooled.release();
  return io.close();
});

test('follows from one memory to another and back', () => {
  const one = Buffer.alloc(64, 1);
  const other = Buffer.alloc(64, 2);
  const sums = [crc32c(one, 0, 64), crc32c(other, 0, 64), crc32c(one, 0, 64)];
  expect(sums).toEqual([native(one), native(other), native(one)]);
  expect(sums[0]).not.toBe(sums[1]);
});
