import { expect, test } from 'vitest';
import { Crc64Nvme } from '../../../src/s3-lite/crc64nvme.js';

const MASK = 2n ** 64n - 1n;

/** Bit by bit, as it is defined. */
function slow(bytes: Uint8Array): string {
  let crc = MASK;
  for (const byte of bytes) {
    crc ^= BigInt(byte);
    for (let bit = 0; bit < 8; bit++) crc = crc & 1n ? (crc >> 1n) ^ 0x9a6c9329ac4bc9b5n : crc >> 1n;
  }
  return (crc ^ MASK).toString(16).padStart(16, '0');
}

function sumOf(...pieces: Uint8Array[]): string {
  const sum = new Crc64Nvme();
  for (const piece of pieces) sum.update(piece);
  return sum.digest().toString('hex');
}

test('the sum is the one of the specification, however the bytes come', () => {
  expect(sumOf(Buffer.from('123456789'))).toBe('ae8b14860a799888');
  expect(sumOf()).toBe('0000000000000000');
  const bytes = Buffer.from(Array.from({ length: 300 }, (_, i) => (i * i * 31 + i) % 256));
  for (const cut of [0, 1, 7, 8, 9, 64, 299, 300]) {
    expect(sumOf(bytes.subarray(0, cut), bytes.subarray(cut))).toBe(slow(bytes));
  }
  for (const byte of [0, 0xff]) expect(sumOf(Buffer.alloc(41, byte))).toBe(slow(Buffer.alloc(41, byte)));
});
