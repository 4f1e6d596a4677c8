import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { RawstorError } from '../../../src/common/errors.js';
import { NBD_LIMITS, Option, OptionReply } from '../../../src/nbd-server/constants.js';
import { Handshake, type HandshakeStep } from '../../../src/nbd-server/handshake.js';
import {
  decodeOptionHeader,
  type ExportFacts,
  helloBytes,
  transmissionFlags,
} from '../../../src/nbd-server/handshake-codec.js';
import { parseInfoQuery, parseMetaQuery, parseName } from '../../../src/nbd-server/option-data.js';

const hex = (text: string) => Buffer.from(text.replaceAll(/\s/g, ''), 'hex');
const u16 = (value: number) => hex(value.toString(16).padStart(4, '0'));
const u32 = (value: number) => hex(value.toString(16).padStart(8, '0'));
const string32 = (text: string) => Buffer.concat([u32(Buffer.byteLength(text)), Buffer.from(text)]);
const infoData = (name: string, ...infos: number[]) =>
  Buffer.concat([string32(name), u16(infos.length), ...infos.map(u16)]);
const metaData = (name: string, ...queries: string[]) =>
  Buffer.concat([string32(name), u32(queries.length), ...queries.map(string32)]);

const FACTS: ExportFacts = {
  name: 'disk',
  description: 'a disk',
  sizeBytes: 0x1_0000_0200,
  readOnly: false,
  multiConnection: true,
  blockSizeMinBytes: 512,
  blockSizePreferredBytes: 4096,
};

interface Reply {
  option: number;
  type: number;
  data: Buffer;
}

function replies(bytes: Buffer): Reply[] {
  const found: Reply[] = [];
  for (let at = 0; at < bytes.length; ) {
    expect(bytes.subarray(at, at + 8)).toEqual(hex('0003e889045565a9'));
    const length = bytes.readUInt32BE(at + 16);
    const data = bytes.subarray(at + 20, at + 20 + length);
    found.push({ option: bytes.readUInt32BE(at + 8), type: bytes.readUInt32BE(at + 12), data });
    at += 20 + length;
  }
  return found;
}

function sent(step: HandshakeStep): Reply[] {
  expect(step.kind).toBe('send');
  return step.kind === 'send' ? replies(step.bytes) : [];
}

const types = (found: Reply[]) => found.map((reply) => reply.type);

function fixed(): Handshake {
  const handshake = new Handshake();
  expect(handshake.clientFlags(3)).toBe(true);
  return handshake;
}

function structured(): Handshake {
  const handshake = fixed();
  expect(types(sent(handshake.take(Option.STRUCTURED_REPLY, Buffer.alloc(0))))).toEqual([OptionReply.ACK]);
  return handshake;
}

describe('the beginning', () => {
  test('hello', () => {
    expect(helloBytes()).toEqual(hex('4e42444d41474943 49484156454f5054 0003'));
  });

  test('client flags: known ones pass, any other drops', () => {
    for (const flags of [0, 1, 2, 3]) expect(new Handshake().clientFlags(flags)).toBe(true);
    for (const flags of [4, 7, 0x80000000, 0xffffffff])
      expect(new Handshake().clientFlags(flags)).toBe(false);
  });

  test('option header', () => {
    const bytes = hex('ff 49484156454f5054 00000007 00000010');
    expect(decodeOptionHeader(bytes, 1)).toEqual({ option: 7, lengthBytes: 16 });
    for (let i = 1; i < 9; i++) {
      const broken = Buffer.from(bytes);
      broken[i]! ^= 1;
      expect(decodeOptionHeader(broken, 1)).toBeNull();
    }
  });
});

describe('EXPORT_NAME', () => {
  test('tells size and flags, with zeroes unless agreed otherwise', () => {
    for (const [flags, lengthBytes] of [
      [3, 10],
      [1, 134],
      [0, 134],
    ] as const) {
      const handshake = new Handshake();
      handshake.clientFlags(flags);
      expect(handshake.take(Option.EXPORT_NAME, Buffer.from('disk'))).toEqual({ kind: 'open', name: 'disk' });
      const bytes = handshake.opened(FACTS);
      expect(bytes.length).toBe(lengthBytes);
      expect(bytes.subarray(0, 10)).toEqual(hex('0000000100000200 0d6d'));
      expect(bytes.subarray(10).every((byte) => byte === 0)).toBe(true);
    }
  });

  test('hangs up where it cannot answer', () => {
    const handshake = fixed();
    handshake.take(Option.EXPORT_NAME, Buffer.from('nope'));
    expect(handshake.refused(new RawstorError('NOT_FOUND', 'no'), false)).toEqual({
      kind: 'end',
      bytes: null,
    });
    expect(fixed().take(Option.EXPORT_NAME, Buffer.alloc(4097, 0x61))).toEqual({ kind: 'end', bytes: null });
    expect(fixed().take(Option.EXPORT_NAME, hex('ff'))).toEqual({ kind: 'end', bytes: null });
  });

  test('is the only option of clients that are not fixed newstyle', () => {
    const handshake = new Handshake();
    handshake.clientFlags(0);
    expect(handshake.take(Option.LIST, Buffer.alloc(0))).toEqual({ kind: 'end', bytes: null });
  });
});

describe('INFO and GO', () => {
  test('tell what is asked for', () => {
    const handshake = structured();
    expect(handshake.take(Option.GO, infoData('disk', 3, 2, 1, 99))).toEqual({ kind: 'open', name: 'disk' });
    const found = replies(handshake.opened(FACTS));
    expect(types(found)).toEqual([3, 3, 3, 3, 1]);
    expect(found.map((reply) => reply.option)).toEqual([7, 7, 7, 7, 7]);
    expect(found[0]!.data).toEqual(hex('0000 0000000100000200 0ded'));
    expect(found[1]!.data).toEqual(Buffer.concat([u16(1), Buffer.from('disk')]));
    expect(found[2]!.data).toEqual(Buffer.concat([u16(2), Buffer.from('a disk')]));
    expect(found[3]!.data).toEqual(hex('0003 00000200 00001000 02000000'));
  });

  test('tell the export alone when nothing is asked for, and the real name behind the empty one', () => {
    const handshake = fixed();
    expect(handshake.take(Option.INFO, infoData('disk'))).toEqual({ kind: 'facts', name: 'disk' });
    expect(types(sent(handshake.described(FACTS)))).toEqual([3, 1]);
    expect(handshake.take(Option.INFO, infoData(''))).toEqual({ kind: 'facts', name: '' });
    const found = sent(handshake.described(FACTS));
    expect(found[1]!.data).toEqual(Buffer.concat([u16(1), Buffer.from('disk')]));
  });

  test.each([
    ['NOT_FOUND', OptionReply.ERR_UNKNOWN],
    ['UNAVAILABLE', OptionReply.ERR_UNKNOWN],
    ['BUSY', OptionReply.ERR_POLICY],
    ['DENIED', OptionReply.ERR_POLICY],
    ['INVALID', OptionReply.ERR_INVALID],
    ['NOT_SUPPORTED', OptionReply.ERR_PLATFORM],
  ] as const)('refused with %s, in words', (code, type) => {
    const handshake = fixed();
    handshake.take(Option.GO, infoData('disk'));
    const error = new RawstorError(code, 'the volume is elsewhere', { where: 'disk', hint: 'detach it' });
    const [reply] = sent(handshake.refused(error, false));
    expect(reply!.type).toBe(type);
    expect(reply!.data.toString()).toBe(`the volume is elsewhere (disk) [${code}]; detach it`);
  });

  test('refused while the server shuts down', () => {
    const handshake = fixed();
    handshake.take(Option.GO, infoData('disk'));
    const [reply] = sent(handshake.refused(new RawstorError('UNAVAILABLE', 'bye'), true));
    expect(reply!.type).toBe(OptionReply.ERR_SHUTDOWN);
  });

  test.each<[string, Buffer]>([
    ['no data', Buffer.alloc(0)],
    ['cut short', infoData('disk', 1).subarray(0, 9)],
    ['a name that is longer than the data', Buffer.concat([u32(0xffffffff), u16(0)])],
    ['fewer requests than told', Buffer.concat([string32('disk'), u16(2), u16(1)])],
    ['more data than told', Buffer.concat([infoData('disk'), u16(1)])],
    ['a name that is too long', infoData('x'.repeat(4097))],
    ['a name with NUL', infoData('a\0b')],
    ['a name that is not UTF-8', Buffer.concat([u32(2), hex('c328'), u16(0)])],
  ])('malformed: %s', (_name, data) => {
    expect(types(sent(fixed().take(Option.GO, data)))).toEqual([OptionReply.ERR_INVALID]);
  });
});

describe('other options', () => {
  test('LIST', () => {
    const handshake = fixed();
    expect(handshake.take(Option.LIST, Buffer.alloc(0))).toEqual({ kind: 'list' });
    const found = sent(handshake.listed([{ name: 'a' }, { name: 'bé', description: 'second' }]));
    expect(types(found)).toEqual([2, 2, 1]);
    expect(found[1]!.data).toEqual(Buffer.concat([string32('bé'), Buffer.from('second')]));
    expect(types(sent(handshake.take(Option.LIST, Buffer.alloc(1))))).toEqual([OptionReply.ERR_INVALID]);
  });

  test('ABORT is acknowledged, whatever comes with it', () => {
    for (const data of [Buffer.alloc(0), Buffer.alloc(3)]) {
      const step = fixed().take(Option.ABORT, data);
      expect(step.kind).toBe('end');
      expect(step.kind === 'end' && types(replies(step.bytes!))).toEqual([OptionReply.ACK]);
    }
  });

  test('TLS, extended headers and what nobody knows are unsupported', () => {
    for (const option of [Option.STARTTLS, 11, 4, 0, 0xffffffff]) {
      expect(types(sent(fixed().take(option, Buffer.alloc(0))))).toEqual([OptionReply.ERR_UNSUP]);
    }
  });

  test('options with data that take none', () => {
    for (const option of [Option.STARTTLS, Option.STRUCTURED_REPLY]) {
      const handshake = fixed();
      expect(types(sent(handshake.take(option, Buffer.alloc(1))))).toEqual([OptionReply.ERR_INVALID]);
      expect(handshake.structured).toBe(false);
    }
  });

  test('data that is too long to look at', () => {
    expect(types(sent(fixed().skipped(Option.GO)))).toEqual([OptionReply.ERR_TOO_BIG]);
    expect(fixed().skipped(Option.EXPORT_NAME)).toEqual({ kind: 'end', bytes: null });
  });

  test('a client that haggles without end is dropped', () => {
    const handshake = fixed();
    for (let i = 0; i < NBD_LIMITS.optionsPerHandshake; i++) {
      expect(handshake.take(77, Buffer.alloc(0)).kind).toBe('send');
    }
    expect(handshake.take(77, Buffer.alloc(0))).toEqual({ kind: 'end', bytes: null });
  });
});

describe('metadata contexts', () => {
  const select = (handshake: Handshake, option: number, ...queries: string[]) => {
    expect(handshake.take(option, metaData('disk', ...queries))).toEqual({ kind: 'facts', name: 'disk' });
    return sent(handshake.described(FACTS));
  };

  test('base:allocation is selected, under an id', () => {
    const handshake = structured();
    const found = select(handshake, Option.SET_META_CONTEXT, 'x-other:thing', 'base:allocation');
    expect(types(found)).toEqual([OptionReply.META_CONTEXT, OptionReply.ACK]);
    expect(found[0]!.data).toEqual(Buffer.concat([u32(1), Buffer.from('base:allocation')]));
    expect(handshake.selectedContexts('disk')).toMatchObject([{ id: 1, name: 'base:allocation' }]);
    expect(handshake.selectedContexts('other')).toEqual([]);
  });

  test('a later selection replaces it, even one that fails', () => {
    for (const data of [metaData('disk'), metaData('disk', 'no-colon'), Buffer.alloc(3)]) {
      const handshake = structured();
      select(handshake, Option.SET_META_CONTEXT, 'base:allocation');
      if (handshake.take(Option.SET_META_CONTEXT, data).kind === 'facts') handshake.described(FACTS);
      expect(handshake.selectedContexts('disk')).toEqual([]);
    }
  });

  test('wildcards list but do not select', () => {
    const handshake = structured();
    for (const queries of [[], ['base:'], ['base:allocation']]) {
      const found = select(handshake, Option.LIST_META_CONTEXT, ...queries);
      expect(types(found)).toEqual([OptionReply.META_CONTEXT, OptionReply.ACK]);
      expect(found[0]!.data.readUInt32BE(0)).toBe(0);
    }
    expect(handshake.selectedContexts('disk')).toEqual([]);
    for (const queries of [[], ['base:'], ['base:dirty'], ['qemu:allocation-depth']]) {
      expect(types(select(handshake, Option.SET_META_CONTEXT, ...queries))).toEqual([OptionReply.ACK]);
    }
    expect(handshake.selectedContexts('disk')).toEqual([]);
  });

  test('need structured replies', () => {
    expect(types(sent(fixed().take(Option.SET_META_CONTEXT, metaData('disk', 'base:allocation'))))).toEqual([
      OptionReply.ERR_INVALID,
    ]);
  });

  test.each<[string, Buffer, number]>([
    ['no data', Buffer.alloc(0), OptionReply.ERR_INVALID],
    ['a name longer than the data', Buffer.concat([u32(100), u32(0)]), OptionReply.ERR_INVALID],
    ['4 billion queries', Buffer.concat([string32('disk'), u32(0xffffffff)]), OptionReply.ERR_INVALID],
    ['a query longer than the data', Buffer.concat([string32('d'), u32(1), u32(9)]), OptionReply.ERR_INVALID],
    [
      'a length cut short',
      Buffer.concat([string32('d'), u32(2), string32('a:b'), u16(0)]),
      OptionReply.ERR_INVALID,
    ],
    ['bytes left over', Buffer.concat([metaData('d', 'a:b'), u16(0)]), OptionReply.ERR_INVALID],
    ['no namespace', metaData('d', 'allocation'), OptionReply.ERR_INVALID],
    ['too many queries', metaData('d', ...new Array(1025).fill('a:b')), OptionReply.ERR_TOO_BIG],
  ])('malformed: %s', (_name, data, type) => {
    expect(types(sent(structured().take(Option.SET_META_CONTEXT, data)))).toEqual([type]);
  });
});

describe('transmission flags', () => {
  test.each([
    [FACTS, false, 0x0d6d],
    [FACTS, true, 0x0ded],
    [{ ...FACTS, multiConnection: false }, true, 0x0ced],
    [{ ...FACTS, readOnly: true }, true, 0x0587],
  ] as const)('%#', (facts, isStructured, flags) => {
    expect(transmissionFlags(facts, isStructured).toString(16)).toBe(flags.toString(16));
  });
});

describe('whatever the bytes', () => {
  test('parsers answer, and what they accept encodes to what came', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const data = Buffer.from(bytes);
        const info = parseInfoQuery(data);
        if (typeof info !== 'string') expect(infoData(info.name, ...info.infos)).toEqual(data);
        const meta = parseMetaQuery(data);
        if (typeof meta !== 'string') expect(metaData(meta.name, ...meta.queries)).toEqual(data);
        const name = parseName(data);
        if (name !== null) expect(Buffer.from(name)).toEqual(data);
      }),
      { numRuns: 2000 },
    );
  });

  test('valid data comes back as it was, and never when a byte is missing', () => {
    const name = fc.string({ unit: 'grapheme', maxLength: 50 }).filter((text) => !text.includes('\0'));
    const query = name.map((text) => `x:${text}`);
    fc.assert(
      fc.property(
        name,
        fc.array(fc.integer({ min: 0, max: 65535 })),
        fc.array(query),
        (text, infos, queries) => {
          expect(parseInfoQuery(infoData(text, ...infos))).toEqual({ name: text, infos });
          expect(parseMetaQuery(metaData(text, ...queries))).toEqual({ name: text, queries });
          expect(typeof parseInfoQuery(infoData(text, ...infos).subarray(0, -1))).toBe('string');
          expect(typeof parseMetaQuery(metaData(text, ...queries).subarray(0, -1))).toBe('string');
        },
      ),
    );
  });
});
