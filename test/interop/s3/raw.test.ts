import { afterAll, beforeAll, expect, test } from 'vitest';
import { runningSum } from '../../../src/s3-lite/checksums.js';
import { BUCKET, presigned, type RawOptions, raw, send, startRawRig } from './raw-request.js';
import type { S3Rig } from './rig.js';

/** Signatures, streamed bodies, addresses and documents as no library sends them. docs/s3.md has the same table. */

let s3: S3Rig;
const B = BUCKET;
beforeAll(async () => {
  s3 = await startRawRig();
}, 60_000);
afterAll(() => s3.end());

type Answer = Promise<{ status: number; code: string; text: string }>;
const get = (options: RawOptions = {}): Answer => raw(s3, 'GET', `${B}/there`, options);
const put = (options: RawOptions = {}): Answer => raw(s3, 'PUT', `${B}/new`, { body: 'abc', ...options });
const url = (
  method: string,
  change?: (query: URLSearchParams) => void,
  shiftMs = 0,
  path = `${B}/there`,
): Answer => send(s3, method, `${path}?${presigned(s3, method, `${B}/there`, change, shiftMs)}`, {});
const replaced = (from: RegExp, to: string) => ({
  authorization: (header: string) => header.replace(from, to),
});
const crc = (text: string) => {
  const sum = runningSum('CRC32');
  sum.update(Buffer.from(text));
  return sum.digest();
};
/** Of `123456789`, as the specification has it. */
const crc64 = Buffer.from('ae8b14860a799888', 'hex').toString('base64');
const SIGNED = 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD';
const UNSIGNED = 'STREAMING-UNSIGNED-PAYLOAD-TRAILER';
const stream = (options: RawOptions): Answer =>
  put({ payload: SIGNED, chunks: ['a'.repeat(9000), 'b'.repeat(777)], ...options });
const trailed = (options: RawOptions): Answer => {
  const chunks = ['hello ', 'world'];
  const trailer = { 'x-amz-checksum-crc32': crc('hello world') };
  const headers = { 'x-amz-trailer': 'x-amz-checksum-crc32' };
  return put({ payload: `${SIGNED}-TRAILER`, headers, chunks, trailer, ...options });
};
const unsigned = { payload: UNSIGNED, signChunks: false };

const authentication: [string, string, () => Answer][] = [
  ['any, headers signed', '200', () => get()],
  ['any, without a signature', 'AccessDenied', () => get({ authorization: null })],
  ['any, of an unknown key', 'InvalidAccessKeyId', () => get({ keyId: 'RSAAAAAAAAAAAAAAAAAA' })],
  ['any, with a wrong secret', 'SignatureDoesNotMatch', () => get({ secret: 'x' })],
  [
    'any, with a Credential that is none',
    'AuthorizationHeaderMalformed',
    () => get(replaced(/Credential=[^,]*/, 'Credential=x')),
  ],
  ['any, without Signature', 'AuthorizationHeaderMalformed', () => get(replaced(/Signature=\w+/, ''))],
  [
    'any, host not signed',
    'AuthorizationHeaderMalformed',
    () => get(replaced(/SignedHeaders=host;/, 'SignedHeaders=')),
  ],
  ['any, signed by another mechanism', 'InvalidRequest', () => get({ authorization: () => 'AWS x:y' })],
  ['any, without x-amz-content-sha256', 'InvalidRequest', () => get({ payload: null })],
  ['any, signed too long ago', 'RequestTimeTooSkewed', () => get({ shiftMs: -1_000_000 })],
  ['any, signed in the future', 'RequestTimeTooSkewed', () => get({ shiftMs: 1_000_000 })],
  ['any, without a date', 'AccessDenied', () => get({ headers: { 'x-amz-date': '' } })],
  ['any, an x-amz header not signed', 'AccessDenied', () => get({ unsigned: { 'x-amz-meta-a': 'b' } })],
  ['any, presigned', '200', () => url('GET')],
  ['any, presigned for another key', 'SignatureDoesNotMatch', () => url('GET', undefined, 0, `${B}/other`)],
  [
    'any, presigned for another method',
    'SignatureDoesNotMatch',
    () => send(s3, 'DELETE', `${B}/there?${presigned(s3, 'GET', `${B}/there`)}`, {}),
  ],
  ['any, presigned and expired', 'AccessDenied', () => url('GET', undefined, -400_000)],
  ['any, presigned and not valid yet', 'AccessDenied', () => url('GET', undefined, 2_000_000)],
  [
    'any, presigned by another algorithm',
    'AuthorizationQueryParametersError',
    () => url('GET', (query) => query.set('X-Amz-Algorithm', 'AWS2')),
  ],
  [
    'any, presigned for no time',
    'AuthorizationQueryParametersError',
    () => url('GET', (query) => query.set('X-Amz-Expires', '0')),
  ],
  [
    'any, presigned for too long',
    'AuthorizationQueryParametersError',
    () => url('GET', (query) => query.set('X-Amz-Expires', '604801')),
  ],
  [
    'any, presigned with a Credential that is none',
    'AuthorizationQueryParametersError',
    () => url('GET', (query) => query.set('X-Amz-Credential', 'x')),
  ],
  [
    'any, presigned, an x-amz header not signed',
    'AccessDenied',
    () =>
      send(s3, 'PUT', `${B}/copy?${presigned(s3, 'PUT', `${B}/copy`)}`, {
        'x-amz-copy-source': `${B}/there`,
      }),
  ],
  [
    'any, presigned without host',
    'AuthorizationQueryParametersError',
    () => url('GET', (query) => query.set('X-Amz-SignedHeaders', 'range')),
  ],
];

const bodies: [string, string, () => Answer][] = [
  ['PutObject, payload unsigned', '200', () => put({ payload: 'UNSIGNED-PAYLOAD' })],
  ['PutObject, hash of another body', 'XAmzContentSHA256Mismatch', () => put({ payload: '0'.repeat(64) })],
  ['PutObject, x-amz-content-sha256 that is none', 'InvalidArgument', () => put({ payload: 'SOMETHING' })],
  [
    'PutObject, no length',
    'MissingContentLength',
    () => put({ payload: 'UNSIGNED-PAYLOAD', unsigned: { 'transfer-encoding': 'chunked' } }),
  ],
  [
    'PutObject, more than 5 GiB',
    'EntityTooLarge',
    () => put({ headers: { 'x-amz-decoded-content-length': '6000000000' } }),
  ],
  [
    'PutObject, a length that is none',
    'InvalidArgument',
    () => put({ headers: { 'x-amz-decoded-content-length': 'many' } }),
  ],
  [
    'PutObject, fewer bytes than told',
    'IncompleteBody',
    () => put({ headers: { 'x-amz-decoded-content-length': '4' } }),
  ],
  ['PutObject, chunks signed', '200', () => stream({})],
  [
    'PutObject, a chunk that was changed',
    'SignatureDoesNotMatch',
    () => stream({ spoil: (body) => body.replace('aaaa', 'aaab') }),
  ],
  ['PutObject, a chunk without its signature', 'SignatureDoesNotMatch', () => stream({ signChunks: false })],
  [
    'PutObject, a last chunk that was changed',
    'SignatureDoesNotMatch',
    () => stream({ spoil: (body) => body.replace(/\r\n0;chunk-signature=./, '\r\n0;chunk-signature=x') }),
  ],
  [
    'PutObject, a size of a chunk that is none',
    'IncompleteBody',
    () => stream({ spoil: (body) => body.replace(/^2328/, 'zz') }),
  ],
  [
    'PutObject, chunks that end too soon',
    'IncompleteBody',
    () => stream({ spoil: (body) => body.slice(0, 5000) }),
  ],
  ['PutObject, chunks signed and a trailer', '200', () => trailed({})],
  [
    'PutObject, a trailer that was changed',
    'SignatureDoesNotMatch',
    () => trailed({ spoil: (body) => body.replace(/crc32:../, 'crc32:AA') }),
  ],
  [
    'PutObject, a trailer with a wrong sum',
    'BadDigest',
    () => trailed({ trailer: { 'x-amz-checksum-crc32': 'AAAAAA==' } }),
  ],
  [
    'PutObject, a trailer without end',
    'IncompleteBody',
    () =>
      trailed({
        ...unsigned,
        trailer: Object.fromEntries([...Array(40).keys()].map((i) => [`x-${i}`, '1'])),
      }),
  ],
  ['PutObject, a trailer that does not come', 'InvalidRequest', () => trailed({ trailer: {} })],
  ['PutObject, unsigned with a trailer', '200', () => trailed(unsigned)],
  [
    'PutObject, unsigned with a wrong sum',
    'BadDigest',
    () => trailed({ ...unsigned, trailer: { 'x-amz-checksum-crc32': 'AAAAAA==' } }),
  ],
  [
    'PutObject, unsigned with a sum that is none',
    'InvalidRequest',
    () => trailed({ ...unsigned, trailer: { 'x-amz-checksum-crc32': 'A' } }),
  ],
  [
    'PutObject, two sums',
    'InvalidRequest',
    () => put({ headers: { 'x-amz-checksum-crc32': crc('abc'), 'x-amz-checksum-sha1': 'A' } }),
  ],
  [
    'PutObject, CRC64NVME',
    '200',
    () => put({ body: '123456789', headers: { 'x-amz-checksum-crc64nvme': crc64 } }),
  ],
  [
    'PutObject, a wrong CRC64NVME',
    'BadDigest',
    () => put({ body: '123456780', headers: { 'x-amz-checksum-crc64nvme': crc64 } }),
  ],
  [
    'PutObject, a trailer of CRC64NVME',
    '200',
    () =>
      trailed({
        headers: { 'x-amz-trailer': 'x-amz-checksum-crc64nvme' },
        chunks: ['1234', '56789'],
        trailer: { 'x-amz-checksum-crc64nvme': crc64 },
      }),
  ],
];

test.each([...authentication, ...bodies])('%s: %s', async (_operation, wanted, ask) => {
  const { status, code, text } = await ask();
  expect([code, String(status)], text).toContain(wanted);
});

test('what chunks and trailers brought is the content', async () => {
  for (const [ask, wanted] of [
    [stream, `${'a'.repeat(9000)}${'b'.repeat(777)}`],
    [trailed, 'hello world'],
  ] as const) {
    expect((await ask({})).status).toBe(200);
    expect((await raw(s3, 'GET', `${B}/new`)).text).toBe(wanted);
  }
});

test('what a presigned address says in its query stands for headers', async () => {
  const query = presigned(s3, 'PUT', `${B}/hoisted`, (all) => {
    all.set('x-amz-meta-colour', 'blue');
    all.set('x-amz-tagging', 'a=b');
  });
  expect((await send(s3, 'PUT', `${B}/hoisted?${query}`, {}, Buffer.from('abc'))).status).toBe(200);
  const { headers } = await raw(s3, 'HEAD', `${B}/hoisted`);
  expect(headers).toMatchObject({ 'x-amz-meta-colour': 'blue', 'x-amz-tagging-count': '1' });
});

test('a large body that fails at its beginning is answered, over a connection that is whole', async () => {
  const body = Buffer.alloc(1 << 24);
  const answer = await put({ body, headers: { 'x-amz-decoded-content-length': '4' } });
  expect(answer).toMatchObject({ status: 400, code: 'IncompleteBody' });
});

test('a body that failed has changed nothing', async () => {
  await put({ body: 'before' });
  for (const [, , ask] of bodies.filter(([, wanted]) => wanted !== '200')) await ask();
  expect((await raw(s3, 'GET', `${B}/new`)).text).toBe('before');
});
