import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Extent } from '../../../src/block/index.js';
import { ERROR_CODES, type ErrorCode, RawstorError } from '../../../src/common/errors.js';
import { GiB, MiB } from '../../../src/common/units.js';
import { Command, CommandFlag, Errno } from '../../../src/nbd-server/constants.js';
import { allocationRuns, contextsOf } from '../../../src/nbd-server/contexts.js';
import {
  blockStatusChunk,
  checkRequest,
  cutText,
  decodeRequest,
  encodeChunkHeader,
  encodeDataChunk,
  encodeSimpleReply,
  errnoOf,
  errorChunk,
  RequestHeader,
  type RequestRules,
  viewOf,
} from '../../../src/nbd-server/transmission.js';

const COOKIE = { cookieHigh: 0x01234567, cookieLow: 0x89abcdef };
const BASE = { id: 1, unknownFlags: 0 };
const LAST = (runsMax: number) => ({ runsMax, flags: 1 });
const hex = (text: string) => Buffer.from(text.replaceAll(/\s/g, ''), 'hex');

describe('bytes on the wire', () => {
  test('request', () => {
    const bytes = hex('ffff 25609513 0001 0006 0123456789abcdef 0000000500001000 00002000');
    const header = new RequestHeader();
    expect(decodeRequest(viewOf(bytes), 2, header)).toBe(true);
    expect(header).toEqual({
      ...COOKIE,
      flags: CommandFlag.FUA,
      command: Command.WRITE_ZEROES,
      offset: 5 * 4 * GiB + 0x1000,
      length: 0x2000,
    });
    expect(decodeRequest(viewOf(bytes), 0, header)).toBe(false);
  });

  test('simple reply', () => {
    const bytes = Buffer.alloc(18);
    expect(encodeSimpleReply(viewOf(bytes), 2, COOKIE, Errno.ENOSPC)).toBe(16);
    expect(bytes).toEqual(hex('0000 67446698 0000001c 0123456789abcdef'));
  });

  test('final empty chunk', () => {
    const bytes = Buffer.alloc(20);
    expect(encodeChunkHeader(viewOf(bytes), 0, COOKIE, 1, 0, 0)).toBe(20);
    expect(bytes).toEqual(hex('668e33ef 0001 0000 0123456789abcdef 00000000'));
  });

  test('data chunk', () => {
    const bytes = Buffer.alloc(28);
    expect(encodeDataChunk(viewOf(bytes), 0, COOKIE, 0, 3 * 4 * GiB + 0xfffff000, 4096)).toBe(28);
    expect(bytes).toEqual(hex('668e33ef 0000 0001 0123456789abcdef 00001008 00000003fffff000'));
  });

  test('error chunk', () => {
    expect(errorChunk(COOKIE, Errno.EIO, 'disk')).toEqual(
      hex('668e33ef 0001 8001 0123456789abcdef 0000000a 00000005 0004 6469736b'),
    );
    expect(errorChunk(COOKIE, Errno.EIO, 'é'.repeat(5000)).length).toBe(20 + 6 + 1024);
  });

  test('block status chunk', () => {
    const extents: Extent[] = [
      { lengthBytes: 4096, hole: false, zero: false },
      { lengthBytes: 512, hole: true, zero: true },
      { lengthBytes: 512, hole: true, zero: true },
      { lengthBytes: 8192, hole: false, zero: true },
    ];
    expect(
      blockStatusChunk(COOKIE, { id: 7, unknownFlags: 0 }, allocationRuns(extents), 6144, LAST(4096)),
    ).toEqual(
      hex(`668e33ef 0001 0005 0123456789abcdef 0000001c 00000007
           00001000 00000000  00000400 00000003  00000400 00000002`),
    );
  });

  test('block status chunk of one run, and of none', () => {
    const extents: Extent[] = [
      { lengthBytes: 512, hole: true, zero: true },
      { lengthBytes: 512, hole: true, zero: true },
      { lengthBytes: 512, hole: false, zero: false },
    ];
    const one = '668e33ef 0001 0005 0123456789abcdef 0000000c 00000001';
    expect(blockStatusChunk(COOKIE, BASE, allocationRuns(extents), 4096, LAST(1))).toEqual(
      hex(`${one} 00000400 00000003`),
    );
    expect(blockStatusChunk(COOKIE, BASE, [], 4096, LAST(1))).toEqual(hex(`${one} 00001000 00000000`));
  });

  test('runs of a block status are positive, never reach past the range, and differ from their neighbours', () => {
    const extent = fc.record({
      lengthBytes: fc.integer({ min: 512, max: 1 << 20 }),
      hole: fc.boolean(),
      zero: fc.boolean(),
    });
    fc.assert(
      fc.property(
        fc.array(extent),
        fc.integer({ min: 1, max: 1 << 22 }),
        fc.integer({ min: 1, max: 8 }),
        (extents, length, runsMax) => {
          const bytes = blockStatusChunk(COOKIE, BASE, allocationRuns(extents), length, LAST(runsMax));
          let sum = 0;
          let before = -1;
          for (let at = 24; at < bytes.length; at += 8) {
            const flags = bytes.readUInt32BE(at + 4);
            expect(bytes.readUInt32BE(at)).toBeGreaterThan(0);
            expect(flags).not.toBe(before);
            sum += bytes.readUInt32BE(at);
            before = flags;
          }
          expect(sum).toBeLessThanOrEqual(length);
          expect(bytes.readUInt32BE(16)).toBe(bytes.length - 20);
          expect(bytes.length).toBeGreaterThanOrEqual(32);
          expect(bytes.length).toBeLessThanOrEqual(24 + 8 * runsMax);
        },
      ),
    );
  });

  test('any request survives the way to the wire and back', () => {
    const u32 = fc.integer({ min: 0, max: 0xffffffff });
    const u16 = fc.integer({ min: 0, max: 0xffff });
    fc.assert(
      fc.property(
        u16,
        u16,
        u32,
        u32,
        fc.bigInt({ min: 0n, max: 2n ** 53n - 1n }),
        u32,
        (flags, command, a, b, o, l) => {
          const bytes = Buffer.alloc(28);
          bytes.writeUInt32BE(0x25609513, 0);
          bytes.writeUInt16BE(flags, 4);
          bytes.writeUInt16BE(command, 6);
          bytes.writeUInt32BE(a, 8);
          bytes.writeUInt32BE(b, 12);
          bytes.writeBigUInt64BE(o, 16);
          bytes.writeUInt32BE(l, 24);
          const header = new RequestHeader();
          expect(decodeRequest(viewOf(bytes), 0, header)).toBe(true);
          const expected = { flags, command, cookieHigh: a, cookieLow: b, offset: Number(o), length: l };
          expect({ ...header }).toEqual(expected);
        },
      ),
    );
  });
});

describe('what is allowed', () => {
  const rules: RequestRules = {
    sizeBytes: 1 << 20,
    readOnly: false,
    blockSizeMinBytes: 512,
    structured: true,
    contexts: contextsOf({}),
  };
  const ask = (request: Partial<RequestHeader>, change: Partial<RequestRules> = {}) =>
    checkRequest(Object.assign(new RequestHeader(), { length: 512 }, request), { ...rules, ...change });
  const { READ, WRITE, FLUSH, TRIM, CACHE, WRITE_ZEROES, BLOCK_STATUS } = Command;

  test.each<[string, Partial<RequestHeader>, Partial<RequestRules>, number]>([
    ['read', { command: READ }, {}, 0],
    ['read of the last block', { command: READ, offset: (1 << 20) - 512 }, {}, 0],
    ['read of nothing', { command: READ, length: 0 }, {}, 0],
    ['read past the end', { command: READ, offset: 1 << 20 }, {}, Errno.EINVAL],
    ['read of a far place', { command: READ, offset: 2 ** 63 }, {}, Errno.EINVAL],
    ['read that is too long', { command: READ, length: 64 * MiB + 512 }, { sizeBytes: GiB }, Errno.EINVAL],
    ['read of 64 MiB', { command: READ, length: 64 * MiB }, { sizeBytes: GiB }, 0],
    ['unaligned read', { command: READ, offset: 1 }, {}, Errno.EINVAL],
    ['unaligned length', { command: READ, length: 100 }, {}, Errno.EINVAL],
    ['read of one byte where that is a block', { command: READ, length: 1 }, { blockSizeMinBytes: 1 }, 0],
    ['read with DF', { command: READ, flags: CommandFlag.DF }, {}, 0],
    ['read with DF, simple', { command: READ, flags: CommandFlag.DF }, { structured: false }, Errno.EINVAL],
    ['read with FUA', { command: READ, flags: CommandFlag.FUA }, {}, 0],
    ['read with NO_HOLE', { command: READ, flags: CommandFlag.NO_HOLE }, {}, Errno.EINVAL],
    ['read with an unknown flag', { command: READ, flags: 0x8000 }, {}, Errno.EINVAL],
    ['write', { command: WRITE }, {}, 0],
    ['write past the end', { command: WRITE, offset: (1 << 20) - 512, length: 1024 }, {}, Errno.ENOSPC],
    ['unaligned write', { command: WRITE, offset: 256 }, {}, Errno.EINVAL],
    ['write with DF', { command: WRITE, flags: CommandFlag.DF }, {}, Errno.EINVAL],
    ['write to read-only', { command: WRITE }, { readOnly: true }, Errno.EPERM],
    ['flush', { command: FLUSH, length: 0 }, {}, 0],
    ['flush of a range', { command: FLUSH, length: 512 }, {}, Errno.EINVAL],
    ['flush at a place', { command: FLUSH, length: 0, offset: 512 }, {}, Errno.EINVAL],
    ['flush of read-only', { command: FLUSH, length: 0 }, { readOnly: true }, 0],
    ['trim', { command: TRIM, flags: CommandFlag.FUA }, {}, 0],
    ['trim past the end', { command: TRIM, offset: 1 << 20 }, {}, Errno.EINVAL],
    ['trim of read-only', { command: TRIM }, { readOnly: true }, Errno.EPERM],
    ['zeroes with all flags', { command: WRITE_ZEROES, flags: 0x13 }, {}, 0],
    ['zeroes past the end', { command: WRITE_ZEROES, offset: 1 << 20 }, {}, Errno.ENOSPC],
    ['zeroes of read-only', { command: WRITE_ZEROES }, { readOnly: true }, Errno.EPERM],
    ['zeroes of 4 GiB', { command: WRITE_ZEROES, length: 0xfffffe00 }, { sizeBytes: 8 * GiB }, 0],
    ['cache', { command: CACHE }, { readOnly: true }, 0],
    ['cache past the end', { command: CACHE, offset: 1 << 20 }, {}, Errno.EINVAL],
    ['status', { command: BLOCK_STATUS, flags: CommandFlag.REQ_ONE }, {}, 0],
    ['status of nothing', { command: BLOCK_STATUS, length: 0 }, {}, Errno.EINVAL],
    ['status not selected', { command: BLOCK_STATUS }, { contexts: [] }, Errno.EINVAL],
    ['status past the end', { command: BLOCK_STATUS, offset: 1 << 20 }, {}, Errno.EINVAL],
    ['resize', { command: 8 }, {}, Errno.EINVAL],
    ['an unknown command', { command: 0xffff }, {}, Errno.EINVAL],
  ])('%s', (_name, request, change, errno) => {
    expect(ask(request, change)).toBe(errno);
  });

  test('whatever a client sends, what passes lies inside of the export and is whole blocks', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 9 }),
        fc.integer({ min: 0, max: 63 }),
        fc.oneof(
          fc.integer({ min: 0, max: 3000 }),
          fc.double({ min: 0, max: 2 ** 64, noNaN: true }).map(Math.floor),
        ),
        fc.integer({ min: 0, max: 0xffffffff }),
        fc.boolean(),
        (command, flags, offset, length, readOnly) => {
          if (ask({ command, flags, offset, length }, { readOnly }) !== 0) return;
          expect(offset + length).toBeLessThanOrEqual(rules.sizeBytes);
          expect(offset % 512 === 0 && length % 512 === 0).toBe(true);
          expect(flags).toBeLessThan(32);
        },
      ),
      { numRuns: 2000 },
    );
  });
});

describe('errors', () => {
  const ALLOWED = new Set<number>(Object.values(Errno));
  test.each(Object.keys(ERROR_CODES) as ErrorCode[])('%s has a number of the protocol', (code) => {
    const errno = errnoOf(new RawstorError(code, 'test'), Command.WRITE, 0);
    expect(ALLOWED.has(errno)).toBe(true);
    expect(errno).not.toBe(0);
    expect(errno).not.toBe(Errno.ENOTSUP);
  });

  test.each<[ErrorCode, number]>([
    ['READ_ONLY', Errno.EPERM],
    ['DENIED', Errno.EPERM],
    ['NO_SPACE', Errno.ENOSPC],
    ['INVALID', Errno.EINVAL],
    ['LIMIT', Errno.ENOMEM],
    ['FENCED', Errno.ESHUTDOWN],
    ['STALE_SESSION', Errno.ESHUTDOWN],
    ['LOSS', Errno.EIO],
    ['TIMEOUT', Errno.EIO],
  ])('%s is %i', (code, errno) => {
    expect(errnoOf(new RawstorError(code, 'test'), Command.READ, 0)).toBe(errno);
  });

  test('NOT_SUPPORTED is ENOTSUP only for a fast zero', () => {
    const error = new RawstorError('NOT_SUPPORTED', 'slow');
    expect(errnoOf(error, Command.WRITE_ZEROES, CommandFlag.FAST_ZERO)).toBe(Errno.ENOTSUP);
    expect(errnoOf(error, Command.WRITE_ZEROES, 0)).toBe(Errno.EINVAL);
    expect(errnoOf(error, Command.TRIM, CommandFlag.FAST_ZERO)).toBe(Errno.EINVAL);
  });

  test('texts are cut between characters and lose their NULs', () => {
    expect(cutText('a\0b', 10).toString()).toBe('ab');
    expect(cutText('aéé', 4).toString()).toBe('aé');
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), fc.integer({ min: 0, max: 20 }), (text, maxBytes) => {
        const cut = cutText(text, maxBytes);
        expect(cut.length).toBeLessThanOrEqual(maxBytes);
        expect(text.replaceAll('\0', '').startsWith(cut.toString())).toBe(true);
      }),
    );
  });
});
