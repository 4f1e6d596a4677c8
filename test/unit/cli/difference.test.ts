import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DifferenceDecoder, type DifferenceItem } from '../../../src/cli/difference/decoder.js';
import { DifferenceEncoder } from '../../../src/cli/difference/encoder.js';
import type { DifferenceHead } from '../../../src/cli/difference/format.js';
import { RawstorError } from '../../../src/common/errors.js';
import { crc32c } from '../../../src/protocol/index.js';

const SIZE = 1 << 20;
const ID = '01a21277-fa4f-710f-b639-af8bd2b98684';
const HEAD: DifferenceHead = {
  volume: 'vm1',
  volumeId: ID,
  from: { objectId: ID, version: 1, name: 'a', sizeBytes: SIZE, createdWallMs: 1 },
  to: { objectId: ID, version: 2, name: 'b', sizeBytes: SIZE, createdWallMs: 2 },
  createdWallMs: 3,
};

/** A small stream: a head, data, zeros in two parts, data, an end. */
function sample(): Buffer {
  const encoder = new DifferenceEncoder();
  return Buffer.concat([
    ...encoder.begin(HEAD),
    ...encoder.data(4096, Buffer.alloc(512, 7)),
    ...encoder.zero(8192, 4096),
    ...encoder.zero(12288, 4096),
    ...encoder.data(65536, Buffer.alloc(1024, 9)),
    ...encoder.end(),
  ]);
}

function decode(stream: Buffer, cuts: readonly number[] = []): DifferenceItem[] {
  const decoder = new DifferenceDecoder('test');
  const items: DifferenceItem[] = [];
  let at = 0;
  for (const cut of [...cuts, stream.length]) {
    items.push(...decoder.push(stream.subarray(at, Math.max(at, cut))));
    at = Math.max(at, cut);
  }
  decoder.finish();
  return items;
}

function refusal(stream: Buffer): RawstorError {
  try {
    decode(stream);
  } catch (error) {
    if (error instanceof RawstorError) return error;
    throw error;
  }
  throw new Error('it was taken');
}

/** With the header's checksum made right again. */
function withHeader(stream: Buffer, at: number, change: (header: Buffer) => void): Buffer {
  const changed = Buffer.from(stream);
  const header = changed.subarray(at, at + 32);
  change(header);
  header.writeUInt32LE(crc32c(header, 0, 28), 28);
  return changed;
}

const headBytes = 32 + Buffer.byteLength(JSON.stringify(HEAD));
const firstData = 16 + headBytes;
const firstZero = firstData + 32 + 512;

describe('a difference stream', () => {
  it('is laid out as documented', () => {
    const stream = sample();
    expect(stream.subarray(0, 12).toString('latin1')).toBe('RAWSTOR-DIFF');
    expect(stream.readUInt32LE(12)).toBe(1);
    expect(stream.subarray(16, 20).toString('latin1')).toBe('HEAD');
    expect(stream.readUInt32LE(20)).toBe(headBytes - 32);
    expect(stream.readBigUInt64LE(32)).toBe(BigInt(SIZE));
    expect(JSON.parse(stream.subarray(48, firstData).toString())).toEqual(HEAD);
    const data = stream.subarray(firstData, firstData + 32);
    expect(data.subarray(0, 4).toString('latin1')).toBe('DATA');
    expect(data.readUInt32LE(4)).toBe(512);
    expect(data.readBigUInt64LE(8)).toBe(4096n);
    expect(data.readBigUInt64LE(16)).toBe(512n);
    expect(data.readUInt32LE(24)).toBe(crc32c(Buffer.alloc(512, 7), 0, 512));
    expect(data.readUInt32LE(28)).toBe(crc32c(data, 0, 28));
    const zero = stream.subarray(firstZero, firstZero + 32);
    expect(zero.subarray(0, 4).toString('latin1')).toBe('ZERO');
    expect([zero.readUInt32LE(4), zero.readUInt32LE(24)]).toEqual([0, 0]);
    expect([zero.readBigUInt64LE(8), zero.readBigUInt64LE(16)]).toEqual([8192n, 8192n]);
    const endAt = stream.length - 64;
    const end = stream.subarray(endAt);
    expect(end.subarray(0, 4).toString('latin1')).toBe('END ');
    expect([end.readBigUInt64LE(8), end.readBigUInt64LE(16)]).toEqual([4n, BigInt(endAt)]);
    expect(end.subarray(32)).toEqual(createHash('sha256').update(stream.subarray(0, endAt)).digest());
  });

  it('is read byte by byte', () => {
    const stream = sample();
    const cuts = Array.from({ length: stream.length }, (_, i) => i + 1);
    expect(decode(stream, cuts)).toEqual([
      { kind: 'head', head: HEAD },
      { kind: 'data', offset: 4096, bytes: Buffer.alloc(512, 7) },
      { kind: 'zero', offset: 8192, length: 8192 },
      { kind: 'data', offset: 65536, bytes: Buffer.alloc(1024, 9) },
      { kind: 'end' },
    ]);
  });

  it('is read the same however it is cut, and gives back what was put in', () => {
    const range = fc.record({
      gap: fc.integer({ min: 0, max: 8 }),
      sectors: fc.integer({ min: 1, max: 16 }),
      byte: fc.integer({ min: 0, max: 255 }),
    });
    fc.assert(
      fc.property(
        fc.array(range, { maxLength: 20 }),
        fc.array(fc.nat(), { maxLength: 30 }),
        (ranges, cuts) => {
          const encoder = new DifferenceEncoder();
          const parts = [...encoder.begin(HEAD)];
          const expected = Buffer.alloc(SIZE, 0xff);
          let at = 0;
          for (const { gap, sectors, byte } of ranges) {
            at += gap * 512;
            const bytes = Buffer.alloc(sectors * 512, byte);
            parts.push(...(byte === 0 ? encoder.zero(at, bytes.length) : encoder.data(at, bytes)));
            bytes.copy(expected, at);
            at += bytes.length;
          }
          parts.push(...encoder.end());
          const stream = Buffer.concat(parts);
          const sorted = cuts.map((cut) => cut % (stream.length + 1)).sort((a, b) => a - b);
          const items = decode(stream, sorted);
          const made = Buffer.alloc(SIZE, 0xff);
          for (const item of items) {
            if (item.kind === 'data') item.bytes.copy(made, item.offset);
            if (item.kind === 'zero') made.fill(0, item.offset, item.offset + item.length);
          }
          expect(items.at(-1)).toEqual({ kind: 'end' });
          expect(made.equals(expected)).toBe(true);
        },
      ),
    );
  });

  it('that is cut short anywhere is noticed', () => {
    const stream = sample();
    for (let length = 0; length < stream.length; length++) {
      const error = refusal(stream.subarray(0, length));
      expect(error.exitCode).toBe(65);
      expect(error.where).toMatch(new RegExp(`^test: record \\d, byte ${length}$`));
    }
  });

  it('with any one bit turned is noticed', () => {
    const stream = sample();
    for (let at = 0; at < stream.length; at++) {
      const changed = Buffer.from(stream);
      changed[at]! ^= 1 << (at % 8);
      const error = refusal(changed);
      // The version of the format is told of as such.
      expect(error.exitCode).toBe(at >= 12 && at < 16 ? 76 : 65);
    }
  });

  it('in which a record was exchanged for a sound one is noticed at its end', () => {
    const other = Buffer.alloc(512, 8);
    const changed = withHeader(sample(), firstData, (header) =>
      header.writeUInt32LE(crc32c(other, 0, 512), 24),
    );
    other.copy(changed, firstData + 32);
    expect(refusal(changed)).toMatchObject({ code: 'CHECKSUM', exitCode: 65 });
  });

  const stream = sample();
  const zero = stream.subarray(firstZero, firstZero + 32);
  it.each([
    ['bytes behind its end', Buffer.concat([stream, Buffer.alloc(1)]), /behind its end/],
    ['no magic', Buffer.from('qcow2 is something else'), /no difference stream/],
    [
      'a record twice',
      Buffer.concat([stream.subarray(0, firstZero), zero, stream.subarray(firstZero)]),
      /out of place/,
    ],
    [
      'a record left out',
      Buffer.concat([stream.subarray(0, firstZero), stream.subarray(firstZero + 32)]),
      /missing/,
    ],
    ['a second head', Buffer.concat([stream.subarray(0, firstData), stream.subarray(16)]), /first record/],
    ['no head', Buffer.concat([stream.subarray(0, 16), stream.subarray(firstData)]), /first record/],
    ['an unknown type', withHeader(stream, firstZero, (header) => header.write('WHAT')), /not known/],
    ['an odd offset', withHeader(stream, firstZero, (header) => header.writeUInt8(1, 8)), /out of place/],
    ['an empty range', withHeader(stream, firstZero, (header) => header.fill(0, 16, 24)), /out of place/],
    [
      'a range past its end',
      withHeader(stream, firstZero, (header) => header.fill(0xff, 17, 24)),
      /out of place/,
    ],
    [
      'a huge payload',
      withHeader(stream, firstData, (header) => header.writeUInt32LE(1 << 30, 4)),
      /too long/,
    ],
    [
      'zeros with a payload',
      withHeader(stream, firstZero, (header) => header.writeUInt32LE(4, 4)),
      /payload/,
    ],
    ['a huge head', withHeader(stream, 16, (header) => header.writeUInt32LE(1 << 30, 4)), /too long/],
  ])('with %s is refused', (_name, changed, message) => {
    const error = refusal(changed);
    expect(error).toMatchObject({ code: 'BAD_DATA', exitCode: 65 });
    expect(error.message).toMatch(message);
  });
});
