import { expect, test } from 'vitest';
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

test('follows from one memory to another and back', () => {
  const one = Buffer.alloc(64, 1);
  const other = Buffer.alloc(64, 2);
  const sums = [crc32c(one, 0, 64), crc32c(other, 0, 64), crc32c(one, 0, 64)];
  expect(sums).toEqual([native(one), native(other), native(one)]);
  expect(sums[0]).not.toBe(sums[1]);
});
