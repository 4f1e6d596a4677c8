import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decodeKey, encodeKey } from '../../../src/s3-lite/names.js';
import { parseXml, text } from '../../../src/s3-lite/xml.js';

const keys = fc.oneof(
  fc.string({ unit: 'grapheme' }),
  fc.string({ unit: 'binary-ascii' }),
  fc.constantFrom('~', '\u007f', 'é~', '߿', 'ࠀ'),
);

test('rows of keys sort as the bytes of the keys do, and give them back', () => {
  fc.assert(
    fc.property(keys, keys, (a, b) => {
      const [left, right] = [encodeKey(a), encodeKey(b)];
      expect(left).toMatch(/^[\x21-\x7e]*$/);
      expect(decodeKey(left)).toBe(a);
      const order = Buffer.compare(Buffer.from(a), Buffer.from(b));
      expect(left < right ? -1 : left > right ? 1 : 0).toBe(order);
    }),
    { numRuns: 2000 },
  );
});

test('characters by number are read, other entities and DTDs are not', () => {
  const root = parseXml(Buffer.from('<Entry><ETag>&#34;a&#x22;&quot;</ETag></Entry>'), 'Entry');
  expect(text(root, 'ETag')).toBe('"a""');
  expect(() => parseXml(Buffer.from('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'), 'a')).toThrow(/well-formed/);
});
