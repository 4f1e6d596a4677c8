import { createHmac } from 'node:crypto';
import { expect, test } from 'vitest';
import { sha256Hex, signatureOf } from '../../../src/s3-lite/sigv4.js';

test('a header is signed as the bytes that came, also where they are no ASCII', () => {
  const key = Buffer.alloc(32, 7);
  const credential = { keyId: 'K', date: '20260101', region: 'r', service: 's3' };
  const timestamp = '20260101T000000Z';
  // A server sees each byte of a header as a character.
  const seen: Record<string, string> = {
    host: 'h',
    'x-amz-meta-colour': Buffer.from('grün').toString('latin1'),
  };
  const request = { method: 'PUT', path: '/b/k', query: [], header: (name: string) => seen[name] };
  const signedHeaders = ['host', 'x-amz-meta-colour'];
  const signature = signatureOf(
    request,
    { credential, signedHeaders, timestamp, expires: null },
    'HASH',
    key,
  );
  const canonical = 'PUT\n/b/k\n\nhost:h\nx-amz-meta-colour:grün\n\nhost;x-amz-meta-colour\nHASH';
  const text = `AWS4-HMAC-SHA256\n${timestamp}\n20260101/r/s3/aws4_request\n${sha256Hex(canonical)}`;
  expect(signature).toBe(createHmac('sha256', key).update(text).digest('hex'));
});
