import * as sdk from '@aws-sdk/client-s3';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { raw } from './raw-request.js';
import { S3Rig } from './rig.js';

/** What browsers ask for pages of other origins: docs/s3.md has the same table. */

let s3: S3Rig;
let client: sdk.S3Client;
const Bucket = 'with-cors';
const cors: sdk.CORSRule[] = [
  {
    AllowedOrigins: ['https://*.example.com'],
    AllowedMethods: ['GET', 'PUT'],
    AllowedHeaders: ['x-amz-*'],
    ExposeHeaders: ['etag'],
    MaxAgeSeconds: 60,
  },
];

beforeAll(async () => {
  s3 = await S3Rig.start();
  client = s3.client();
  await client.send(new sdk.CreateBucketCommand({ Bucket }));
  await client.send(new sdk.PutObjectCommand({ Bucket, Key: 'there', Body: '0123456789' }));
  await client.send(new sdk.PutBucketCorsCommand({ Bucket, CORSConfiguration: { CORSRules: cors } }));
}, 60_000);
afterAll(async () => {
  client.destroy();
  await s3.end();
});

const preflight =
  (headers: Record<string, string>, bucket = Bucket) =>
  async () => {
    const { status, code } = await raw(s3, 'OPTIONS', `/${bucket}/there`, { authorization: null, headers });
    return [code, String(status)];
  };
const asks = (method: string, origin = 'https://a.example.com') => ({
  origin,
  'access-control-request-method': method,
});

const cases: [string, string, () => Promise<string[]>][] = [
  [
    'GetBucketCors',
    '200',
    () =>
      client
        .send(new sdk.GetBucketCorsCommand({ Bucket }))
        .then(({ $metadata }) => [String($metadata.httpStatusCode)]),
  ],
  ['Preflight', '200', preflight(asks('PUT'))],
  ['Preflight, of another origin', 'AccessDenied', preflight(asks('PUT', 'https://example.org'))],
  ['Preflight, of another method', 'AccessDenied', preflight(asks('DELETE'))],
  [
    'Preflight, of another header',
    'AccessDenied',
    preflight({ ...asks('PUT'), 'access-control-request-headers': 'authorization' }),
  ],
  ['Preflight, without an origin', 'InvalidRequest', preflight({ 'access-control-request-method': 'PUT' })],
  ['Preflight', 'NoSuchBucket', preflight(asks('PUT'), 'nobody')],
];

test.each(cases)('%s: %s', async (_operation, wanted, ask) => {
  expect(await ask()).toContain(wanted);
});

test('a page of an allowed origin sees the answer, one of another does not', async () => {
  const { CORSRules } = await client.send(new sdk.GetBucketCorsCommand({ Bucket }));
  expect(CORSRules).toEqual(cors);
  const ask = (origin: string) => raw(s3, 'GET', `/${Bucket}/there`, { headers: { origin } });
  const { headers } = await ask('https://a.example.com');
  expect(headers).toMatchObject({
    'access-control-allow-origin': 'https://a.example.com',
    'access-control-expose-headers': 'etag',
  });
  expect((await ask('https://example.org')).headers['access-control-allow-origin']).toBeUndefined();
  const { headers: told } = await raw(s3, 'OPTIONS', `/${Bucket}/k`, {
    authorization: null,
    headers: { ...asks('PUT'), 'access-control-request-headers': 'X-Amz-Date, x-amz-meta-a' },
  });
  expect(told).toMatchObject({
    'access-control-allow-methods': 'GET, PUT',
    'access-control-allow-headers': 'x-amz-date, x-amz-meta-a',
    'access-control-max-age': '60',
  });
});

test('a document with line feeds around its text, and a request of such a page', async () => {
  const Pretty = 'pretty-cors';
  await client.send(new sdk.CreateBucketCommand({ Bucket: Pretty }));
  const lines = (name: string, text: string) => `<${name}>\n  ${text}\n</${name}>`;
  const rule = ['AllowedOrigin', '*', 'AllowedMethod', 'GET', 'ExposeHeader', 'x-amz-meta-a'];
  const inner = [0, 2, 4].map((i) => lines(rule[i]!, rule[i + 1]!)).join('\n');
  const body = `<CORSConfiguration><CORSRule>${inner}</CORSRule></CORSConfiguration>`;
  expect((await raw(s3, 'PUT', `/${Pretty}`, { query: 'cors=', body })).status).toBe(200);
  const { status, headers } = await raw(s3, 'GET', `/${Pretty}`, { headers: { origin: 'https://x.test' } });
  expect(status).toBe(200);
  expect(headers['access-control-expose-headers']).toBe('x-amz-meta-a');
});
