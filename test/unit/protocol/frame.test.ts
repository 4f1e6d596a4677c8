import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  crc32c,
  decodeFrameHeader,
  encodeFrameHeader,
  FRAME_HEADER_BYTES,
  FrameFlag,
  FrameHeader,
  Opcode,
} from '../../../src/protocol/index.js';

function sample(): FrameHeader {
  const header = new FrameHeader();
  header.version = 1;
  header.opcode = Opcode.WRITE;
  header.flags = FrameFlag.FUA;
  header.requestId = 0x01020304;
  header.handle = 0x11121314;
  header.chunk = 7;
  header.chunkVersion = 2;
  header.sessionEpoch = 0x1_0000_0005;
  header.sessionNumber = 9;
  header.status = 11;
  header.tag = 0x2_0000_0006;
  header.offset = 0x3_0000_1000;
  header.length = 4096;
  header.payloadBytes = 4096;
  return header;
}

describe('frame header', () => {
  test('stands on the wire byte by byte as documented', () => {
    const bytes = Buffer.alloc(FRAME_HEADER_BYTES);
    encodeFrameHeader(bytes, 0, sample());
    expect(bytes.subarray(0, 68).toString('hex')).toBe(
      [
        '52575331', // magic
        '01', // version
        '11', // opcode
        '0200', // flags
        '04030201', // request id
        '14131211', // handle
        '07000000', // chunk
        '02000000', // chunk version
        '0500000001000000', // session epoch
        '09000000', // session number
        '0b000000', // status
        '0600000002000000', // tag
        '0010000003000000', // offset
        '00100000', // length
        '00100000', // payload
        '00000000', // reserved
      ].join(''),
    );
    expect(bytes.readUInt32LE(68)).toBe(crc32c(bytes, 0, 68));
  });

  test('every field survives, at any place in a buffer', () => {
    const u32 = fc.integer({ min: 0, max: 0xffffffff });
    const u53 = fc.maxSafeInteger().map((value) => Math.abs(value));
    const fields = fc.record({
      version: fc.integer({ min: 0, max: 255 }),
      opcode: fc.integer({ min: 0, max: 255 }),
      flags: fc.integer({ min: 0, max: 65535 }),
      requestId: u32,
      handle: u32,
      chunk: u32,
      chunkVersion: u32,
      sessionEpoch: u53,
      sessionNumber: u32,
      status: u32,
      tag: u53,
      offset: u53,
      length: u32,
      payloadBytes: u32,
    });
    fc.assert(
      fc.property(fields, fc.integer({ min: 0, max: 64 }), (values, at) => {
        const header = Object.assign(new FrameHeader(), values);
        const bytes = Buffer.alloc(at + FRAME_HEADER_BYTES);
        encodeFrameHeader(bytes, at, header);
        const back = new FrameHeader();
        expect(decodeFrameHeader(bytes, at, back)).toBeNull();
        expect({ ...back }).toEqual(values);
      }),
    );
  });

  test('any flipped bit is noticed', () => {
    const good = Buffer.alloc(FRAME_HEADER_BYTES);
    encodeFrameHeader(good, 0, sample());
    for (let bit = 0; bit < FRAME_HEADER_BYTES * 8; bit++) {
      const bad = Buffer.from(good);
      bad[bit >> 3]! ^= 1 << (bit & 7);
      expect(decodeFrameHeader(bad, 0, new FrameHeader())).toBe(bit < 32 ? 'magic' : 'checksum');
    }
  });

  test('a number beyond 2^53 is refused, not rounded', () => {
    const bytes = Buffer.alloc(FRAME_HEADER_BYTES);
    encodeFrameHeader(bytes, 0, sample());
    bytes.writeBigUInt64LE(1n << 60n, 48);
    bytes.writeUInt32LE(crc32c(bytes, 0, 68), 68);
    expect(decodeFrameHeader(bytes, 0, new FrameHeader())).toBe('range');
  });
});

test('CRC-32C gives the published check values', () => {
  expect(crc32c(Buffer.from('123456789'), 0, 9)).toBe(0xe3069283);
  expect(crc32c(Buffer.alloc(32), 0, 32)).toBe(0x8a9136aa);
  expect(crc32c(Buffer.alloc(32, 0xff), 0, 32)).toBe(0x62a8ab43);
});
