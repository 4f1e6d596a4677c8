import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { RawstorError } from '../../../src/common/errors.js';
import { MiB } from '../../../src/common/units.js';
import { decodeBody, decodeCall, decodeError, encodeBody, encodeError } from '../../../src/protocol/index.js';

const hex = (value: unknown) => encodeBody(value).toString('hex');

describe('control bodies', () => {
  test('are msgpack without extensions, integers above 32 bits as float64', () => {
    expect(hex(['ost.usage', { objectId: 'x' }])).toBe('92a96f73742e757361676581a86f626a6563744964a178');
    expect(hex({ epoch: 2 ** 32 - 1 })).toBe('81a565706f6368ceffffffff');
    expect(hex({ epoch: 2 ** 40 })).toBe('81a565706f6368cb4270000000000000');
    expect(hex({ absent: undefined, nothing: null })).toBe('82a6616273656e74c0a76e6f7468696e67c0');
  });

  test.each([
    ['uint64', 'cf0000010000000000', 2 ** 40],
    ['int64', 'd30000010000000000', 2 ** 40],
    ['float64', 'cb4270000000000000', 2 ** 40],
    ['uint8', 'cc07', 7],
  ])('take an integer as %s, as other languages write it', (_name, bytes, value) => {
    expect(decodeBody(Buffer.from(bytes, 'hex'))).toBe(value);
  });

  test('an error keeps code, message, place and hint', () => {
    const error = new RawstorError('BUSY', 'in use', { where: 'vm1', hint: 'wait' });
    expect(decodeError(error.wire, encodeError(error))).toMatchObject({
      code: 'BUSY',
      message: 'in use',
      where: 'vm1',
      hint: 'wait',
    });
    expect(decodeError(error.wire, null)).toMatchObject({ code: 'BUSY', message: 'the peer answered BUSY' });
    expect(decodeError(60_000, Buffer.from([0xc1]))).toMatchObject({ code: 'IO' });
  });

  test.each([[null], [encodeBody('x')], [encodeBody(['x'])], [encodeBody([1, {}])], [Buffer.from([0xc1])]])(
    'refuse %o as a call',
    (body) => {
      expect(() => decodeCall(body)).toThrowError(expect.objectContaining({ code: 'PROTOCOL' }));
    },
  );

  test.each([
    [
      'nested arrays that each claim a quarter of a gibibyte',
      Buffer.alloc(MiB - 1, Buffer.from('dd01ffffff', 'hex')),
    ],
    ['nested maps that claim as much', Buffer.alloc(MiB - 1, Buffer.from('df01ffffffa178', 'hex'))],
    ['an array nested a million times', Buffer.alloc(MiB, 0x91)],
    ['an array one short', Buffer.from('93c0c0', 'hex')],
    ['a text past the end', Buffer.from('dbffffffff41', 'hex')],
    ['a length cut short', Buffer.from('dd0000', 'hex')],
    ['bytes behind the value', Buffer.from('c0c0', 'hex')],
    ['an extension', Buffer.from('c70101ff', 'hex')],
    ['nothing', Buffer.alloc(0)],
  ])('refuse %s before anything is reserved for it', (_what, body) => {
    expect(() => decodeBody(body)).toThrowError(expect.objectContaining({ code: 'PROTOCOL' }));
  });

  test('what is encoded is decoded, whatever it is', () => {
    fc.assert(
      fc.property(
        fc.jsonValue({ maxDepth: 8 }).filter((value) => !JSON.stringify(value).includes('__proto__')),
        (value) => {
          // Integers have no negative zero here, nor in JSON.
          expect(decodeBody(encodeBody(value))).toEqual(JSON.parse(JSON.stringify(value)));
        },
      ),
    );
    const long = { text: 'x'.repeat(70_000), rows: Array.from({ length: 70_000 }, (_, i) => i * 2 ** 20) };
    expect(decodeBody(encodeBody(long))).toEqual(long);
  });
});
