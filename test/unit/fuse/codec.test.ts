import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  attributesBody,
  DirectoryBody,
  encodeHeader,
  entryBody,
  initBody,
  nodesOfDirectory,
  openBody,
  seekBody,
  spaceBody,
  writtenBody,
} from '../../../src/fuse/answers.js';
import { readI64, readU64, writeI64, writeU64 } from '../../../src/fuse/bytes.js';
import { FileType, FUSE_LIMITS, InitFlag, Op } from '../../../src/fuse/constants.js';
import {
  decodeCreate,
  decodeFallocate,
  decodeForgets,
  decodeHandle,
  decodeHeader,
  decodeInit,
  decodeInterrupt,
  decodeName,
  decodeOpenFlags,
  decodeRange,
  decodeRename,
  decodeSeek,
  decodeSetAttr,
} from '../../../src/fuse/requests.js';

const hex = (text: string) => Buffer.from(text.replaceAll(/\s/g, ''), 'hex');

const ATTRIBUTES = {
  ino: 0x1122334455,
  sizeBytes: 1000,
  usedBytes: 513,
  mtimeMs: 1500,
  ctimeMs: -500,
  mode: 0o100640,
  links: 1,
  uid: 107,
  gid: 108,
};
const ATTRIBUTE_BYTES = hex(`
  5544332211000000 e803000000000000 0200000000000000
  0100000000000000 0100000000000000 ffffffffffffffff
  0065cd1d 0065cd1d 0065cd1d a0810000 01000000 6b000000 6c000000 00000000 00100000 00000000`);

describe('what the kernel asks', () => {
  test('a header, with extensions behind the body', () => {
    const bytes = hex(`
      00 30000000 12000000 0a00000000000000 1000000000000000 6b000000 6c000000 d2040000 0100 0000 ffffffffffffffff`);
    expect(decodeHeader(bytes, 1)).toEqual({
      lengthBytes: 48,
      opcode: Op.RELEASE,
      unique: 10,
      nodeId: 16,
      uid: 107,
      gid: 108,
      pid: 1234,
      extensionBytes: 8,
    });
    expect(() => decodeHeader(bytes.subarray(0, 48), 1)).toThrow(RangeError);
    expect(() => decodeHeader(hex(`27000000${'00'.repeat(60)}`), 0)).toThrow(RangeError);
  });

  test('INIT', () => {
    const body = hex(`07000000 26000000 00000200 fbffff73 ${'00'.repeat(48)}`);
    expect(decodeInit(body)).toEqual({ major: 7, minor: 38, maxReadaheadBytes: 131072, flags: 0x73fffffb });
  });

  test('names: LOOKUP, CREATE, MKNOD, RENAME and RENAME2', () => {
    expect(decodeName(Buffer.from('vm1\0'), 0)).toBe('vm1');
    expect(() => decodeName(Buffer.from('vm1'), 0)).toThrow(RangeError);
    const create = Buffer.concat([hex('42800000 a4810000 12000000 00000000'), Buffer.from('vm1\0')]);
    expect(decodeCreate(Op.CREATE, create)).toEqual({ flags: 0x8042, mode: 0o100644, name: 'vm1' });
    const mknod = Buffer.concat([hex('a4810000 00000000 12000000 00000000'), Buffer.from('b\0')]);
    expect(decodeCreate(Op.MKNOD, mknod)).toEqual({ flags: 0, mode: 0o100644, name: 'b' });
    const names = Buffer.from('old\0new\0');
    const rename = Buffer.concat([hex('0100000000000000'), names]);
    const known = { newParent: 1, name: 'old', newName: 'new' };
    expect(decodeRename(Op.RENAME, rename)).toEqual({ ...known, flags: 0 });
    const rename2 = Buffer.concat([hex('0100000000000000 01000000 00000000'), names]);
    expect(decodeRename(Op.RENAME2, rename2)).toEqual({ ...known, flags: 1 });
    expect(() => decodeRename(Op.RENAME, rename.subarray(0, 12))).toThrow(RangeError);
  });

  test('SETATTR', () => {
    const body = hex(`
      2b000000 00000000 0300000000000000 d204000000000000 0000000000000000
      0000000000000000 ffffffffffffffff 0000000000000000 00000000 0065cd1d 00000000
      a4810000 00000000 6b000000 6c000000 00000000`);
    expect(decodeSetAttr(body)).toEqual({
      valid: 0x2b,
      handle: 3,
      sizeBytes: 1234,
      mtimeMs: -500,
      mode: 0o100644,
      uid: 107,
      gid: 108,
    });
    expect(() => decodeSetAttr(body.subarray(0, 80))).toThrow(RangeError);
  });

  test('READ and WRITE, FALLOCATE, LSEEK, handles, INTERRUPT', () => {
    const range = hex(
      `0300000000000000 0000000001000000 00100000 00000000 0000000000000000 02900000 00000000`,
    );
    expect(decodeRange(range)).toEqual({ handle: 3, offset: 2 ** 32, sizeBytes: 4096, openFlags: 0x9002 });
    const fallocate = hex('0300000000000000 0010000000000000 0020000000000000 03000000 00000000');
    expect(decodeFallocate(fallocate)).toEqual({ handle: 3, offset: 4096, lengthBytes: 8192, mode: 3 });
    expect(decodeSeek(hex('0300000000000000 0010000000000000 04000000 00000000'))).toEqual({
      handle: 3,
      offset: 4096,
      whence: 4,
    });
    expect(decodeHandle(hex('0300000000000000'))).toBe(3);
    expect(decodeOpenFlags(hex('02900000 00000000'))).toBe(0x9002);
    expect(decodeInterrupt(hex('0a00000000000000'))).toBe(10);
  });

  test('FORGET of one, and of many', () => {
    const seen: number[][] = [];
    const each = (...pair: number[]) => seen.push(pair);
    decodeForgets({ opcode: Op.FORGET, nodeId: 16 }, hex('0200000000000000'), each);
    const batch = hex(
      '02000000 00000000 1000000000000000 0100000000000000 1100000000000000 0300000000000000',
    );
    decodeForgets({ opcode: Op.BATCH_FORGET, nodeId: 0 }, batch, each);
    expect(seen).toEqual([
      [16, 2],
      [16, 1],
      [17, 3],
    ]);
    expect(() => decodeForgets({ opcode: Op.BATCH_FORGET, nodeId: 0 }, batch.subarray(0, 39), each)).toThrow(
      RangeError,
    );
  });

  test('whatever comes is decoded or is a RangeError', () => {
    const decoders = [
      (body: Buffer) => decodeHeader(body, 0),
      decodeInit,
      (body: Buffer) => decodeName(body, 0),
      (body: Buffer) => decodeCreate(Op.CREATE, body),
      (body: Buffer) => decodeRename(Op.RENAME2, body),
      decodeSetAttr,
      decodeRange,
      decodeFallocate,
      decodeSeek,
      (body: Buffer) => decodeForgets({ opcode: Op.BATCH_FORGET, nodeId: 0 }, body, () => {}),
    ];
    const body = fc.uint8Array({ maxLength: 120 });
    fc.assert(
      fc.property(body, fc.constantFrom(...decoders), (bytes, decode) => {
        try {
          decode(Buffer.from(bytes));
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError);
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe('what it is answered', () => {
  test('an error, a success', () => {
    const bytes = Buffer.alloc(32);
    encodeHeader(bytes, 0, 16, 2, 10);
    encodeHeader(bytes, 16, 24, 0, 2 ** 33);
    expect(bytes).toEqual(hex('10000000 feffffff 0a00000000000000 18000000 00000000 0000000002000000'));
  });

  test('attributes and entries', () => {
    expect(attributesBody(ATTRIBUTES, 1500)).toEqual(
      Buffer.concat([hex('0100000000000000 0065cd1d 00000000'), ATTRIBUTE_BYTES]),
    );
    const entry = { nodeId: 16, attributes: ATTRIBUTES, entryValidMs: 1000, attrValidMs: 250 };
    expect(entryBody(entry)).toEqual(
      Buffer.concat([
        hex('1000000000000000 0000000000000000 0100000000000000 0000000000000000 00000000 80b2e60e'),
        ATTRIBUTE_BYTES,
      ]),
    );
  });

  test('handles, lengths, places', () => {
    expect(openBody(3)).toEqual(hex('0300000000000000 00000000 00000000'));
    expect(writtenBody(4096)).toEqual(hex('00100000 00000000'));
    expect(seekBody(2 ** 40)).toEqual(hex('0000000000010000'));
  });

  test('free space, in pages', () => {
    const body = spaceBody({ totalBytes: 10 * 4096, freeBytes: 7 * 4096 + 5, files: 3 });
    expect(body.subarray(0, 32)).toEqual(
      hex('0a00000000000000 0700000000000000 0700000000000000 0300000000000000'),
    );
    expect(body.subarray(40)).toEqual(hex(`00100000 ff000000 00100000 ${'00'.repeat(28)}`));
  });

  test('entries of a directory, as many as fit', () => {
    const plain = new DirectoryBody(64, false);
    expect(plain.add('.', 1, 1, FileType.DIRECTORY, null)).toBe(true);
    expect(plain.add('12345678', 3, 17, FileType.REGULAR, null)).toBe(true);
    expect(plain.add('x', 4, 18, FileType.REGULAR, null)).toBe(false);
    expect(plain.body).toEqual(
      hex(`0100000000000000 0100000000000000 01000000 04000000 2e00000000000000
           1100000000000000 0300000000000000 08000000 08000000 3132333435363738`),
    );
    const plus = new DirectoryBody(200, true);
    const entry = { nodeId: 16, attributes: ATTRIBUTES, entryValidMs: 1000, attrValidMs: 1000 };
    expect(plus.add('vm1', 3, 17, FileType.REGULAR, entry)).toBe(true);
    expect(plus.add('vm2', 4, 18, FileType.REGULAR, entry)).toBe(false);
    expect(plus.body).toEqual(
      Buffer.concat([
        entryBody(entry),
        hex('1100000000000000 0300000000000000 03000000 08000000 766d310000000000'),
      ]),
    );
    const several = new DirectoryBody(4096, true);
    several.add('.', 1, 1, FileType.DIRECTORY, null);
    for (const [i, name] of ['a', '12345678', 'a longer one'].entries()) {
      several.add(name, 2 + i, 20 + i, FileType.REGULAR, { ...entry, nodeId: 16 + i });
    }
    expect([...nodesOfDirectory(several.body)]).toEqual([16, 17, 18]);
    expect([...nodesOfDirectory(Buffer.alloc(0))]).toEqual([]);
  });

  test('INIT: what both know, of the older', () => {
    const asked = { major: 7, minor: 31, maxReadaheadBytes: 131072, flags: 0xffffffff };
    const body = initBody(asked)!;
    expect(body).toHaveLength(64);
    expect(body.subarray(0, 12)).toEqual(hex('07000000 1f000000 00000200'));
    const flags = body.readUInt32LE(12);
    expect(flags & InitFlag.MAX_PAGES).not.toBe(0);
    // Locks stay with the kernel; it keeps no writes back.
    expect(flags & ((1 << 1) | (1 << 10) | (1 << 16))).toBe(0);
    expect(body.readUInt32LE(20)).toBe(FUSE_LIMITS.payloadBytes);
    expect(body.readUInt16LE(28)).toBe(256);
    expect(initBody({ ...asked, flags: InitFlag.MAX_PAGES })!.readUInt32LE(12)).toBe(InitFlag.MAX_PAGES);
    expect(initBody({ ...asked, minor: 99 })!.readUInt32LE(4)).toBe(38);
    expect(initBody({ ...asked, major: 8, minor: 1 })!.subarray(0, 8)).toEqual(hex('07000000 26000000'));
    expect(initBody({ ...asked, minor: 27 })).toBeNull();
    expect(initBody({ ...asked, flags: 0 })).toBeNull();
    expect(initBody({ ...asked, major: 6 })).toBeNull();
  });

  test('64-bit integers there and back', () => {
    const bytes = Buffer.alloc(8);
    fc.assert(
      fc.property(fc.maxSafeNat(), (value) => {
        writeU64(bytes, 0, value);
        expect(readU64(bytes, 0)).toBe(value);
        expect(bytes.readBigUInt64LE()).toBe(BigInt(value));
      }),
    );
    fc.assert(
      fc.property(fc.maxSafeInteger(), (value) => {
        writeI64(bytes, 0, value);
        expect(readI64(bytes, 0)).toBe(value);
        expect(bytes.readBigInt64LE()).toBe(BigInt(value));
      }),
    );
  });
});
