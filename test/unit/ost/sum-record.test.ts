import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  BLOCKS_PER_REGION,
  decodeSums,
  encodeSums,
  epochOfSums,
  sumsKey,
  ZERO_BLOCK_SUM,
} from '../../../src/ost/checksums/sum-record.js';

const zeros = () => new Uint32Array(BLOCKS_PER_REGION).fill(ZERO_BLOCK_SUM);

describe('record of the checksums of a region', () => {
  test('the sum of zeros is that of CRC-32C', () => {
    expect(ZERO_BLOCK_SUM).toBe(0x98f94189);
  });

  test('byte by byte: head, bitmap, and the sums of blocks that are not zeros', () => {
    const sums = zeros();
    sums[1] = 0x11223344;
    sums[9] = 0xfffffffe;
    sums[1023] = 0;
    const value = encodeSums(0x1_0000_0002, sums);
    expect(value.length).toBe(8 + 4 + 128 + 3 * 4);
    expect(value.subarray(0, 8).toString('hex')).toBe('0200000001000000');
    expect(value.subarray(8, 12).toString('hex')).toBe('1d9c600a');
    expect(value.subarray(12, 14).toString('hex')).toBe('0202');
    expect(value.subarray(14, 139).every((byte) => byte === 0)).toBe(true);
    expect(value[139]).toBe(0x80);
    expect(value.subarray(140).toString('hex')).toBe('44332211feffffff00000000');
  });

  test('a region of holes takes its head alone', () => {
    expect(encodeSums(7, zeros()).length).toBe(140);
  });

  test('keys sort by chunk, version and region', () => {
    const id = new Uint8Array(16).fill(0xab);
    const key = sumsKey(id, 1, 2, 0x01020304);
    expect(key.toString('hex')).toBe(`4b${'ab'.repeat(16)}000000010000000201020304`);
  });

  test('what is written is read', () => {
    const sum = fc.oneof(fc.constant(ZERO_BLOCK_SUM), fc.nat(0xffffffff));
    const property = fc.property(
      fc.array(sum, { maxLength: BLOCKS_PER_REGION }),
      fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
      (some, epoch) => {
        const sums = zeros();
        sums.set(some);
        const value = encodeSums(epoch, sums);
        const into = new Uint32Array(BLOCKS_PER_REGION);
        expect(epochOfSums(value)).toBe(epoch);
        expect(decodeSums(value, into)).toBe(true);
        expect(into).toEqual(sums);
      },
    );
    fc.assert(property);
  });

  test('a record that is damaged or cut is none', () => {
    const sums = zeros();
    sums.fill(5, 100, 200);
    const value = encodeSums(3, sums);
    const into = new Uint32Array(BLOCKS_PER_REGION);
    const property = fc.property(fc.nat(value.length * 8 - 1), (bit) => {
      const damaged = Buffer.from(value);
      damaged[bit >>> 3]! ^= 1 << (bit & 7);
      expect(decodeSums(damaged, into)).toBe(false);
    });
    fc.assert(property, { numRuns: 2000 });
    for (const length of [0, 1, 139, value.length - 1]) {
      expect(decodeSums(value.subarray(0, length), into)).toBe(false);
    }
    expect(decodeSums(Buffer.concat([value, Buffer.alloc(4)]), into)).toBe(false);
    expect(epochOfSums(Buffer.alloc(3))).toBe(0);
  });
});
