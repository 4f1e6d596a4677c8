import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { BUCKET, type RawOptions, raw, send, startRawRig } from './raw-request.js';
import type { S3Rig } from './rig.js';

/** Addresses, methods and documents as no library sends them, and what is not there. docs/s3.md has the same table. */

let s3: S3Rig;
const B = BUCKET;
beforeAll(async () => {
  s3 = await startRawRig();
}, 60_000);
afterAll(() => s3.end());

type Answer = Promise<{ status: number; code: string; text: string }>;
const put = (options: RawOptions): Answer => raw(s3, 'PUT', `${B}/new`, { body: 'abc', ...options });
const on = (method: string, path: string, query: string, body = ''): Answer =>
  raw(s3, method, path, { query, body });

const many = `<Delete>${'<Object><Key>k</Key></Object>'.repeat(1001)}</Delete>`;
const retain = (until: string) =>
  on(
    'PUT',
    `${B}/there`,
    'retention=',
    `<Retention><Mode>COMPLIANCE</Mode><RetainUntilDate>${until}</RetainUntilDate></Retention>`,
  );
const documents: [string, string, () => Answer][] = [
  ['DeleteObjects, no document', 'MalformedXML', () => on('POST', B, 'delete=')],
  ['DeleteObjects, not XML', 'MalformedXML', () => on('POST', B, 'delete=', '<Delete><Object>')],
  ['DeleteObjects, a document type', 'MalformedXML', () => on('POST', B, 'delete=', '<!DOCTYPE x><Delete/>')],
  ['DeleteObjects, more than 1000 keys', 'MalformedXML', () => on('POST', B, 'delete=', many)],
  [
    'DeleteObjects, more than 2 MiB',
    'EntityTooLarge',
    () => on('POST', B, 'delete=', ' '.repeat(2 * 1024 * 1024 + 1)),
  ],
  ['CreateBucket, another document', 'MalformedXML', () => on('PUT', '/other-bucket', '', '<Tagging/>')],
  [
    'CreateBucket, another region',
    'InvalidArgument',
    () =>
      on(
        'PUT',
        '/other-bucket',
        '',
        '<CreateBucketConfiguration><LocationConstraint>mars</LocationConstraint></CreateBucketConfiguration>',
      ),
  ],
  ['PutBucketCors, another document', 'MalformedXML', () => on('PUT', B, 'cors=', '<Tagging/>')],
  [
    'PutBucketCors, a rule without origin',
    'MalformedXML',
    () =>
      on(
        'PUT',
        B,
        'cors=',
        '<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>',
      ),
  ],
  [
    'PutBucketCors, what is no header',
    'InvalidRequest',
    () =>
      on(
        'PUT',
        B,
        'cors=',
        '<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod><ExposeHeader>x y</ExposeHeader></CORSRule></CORSConfiguration>',
      ),
  ],
  ['PutBucketTagging, not XML', 'MalformedXML', () => on('PUT', B, 'tagging=', 'tags')],
  [
    'PutObjectTagging, a tag twice',
    'InvalidTag',
    () =>
      on(
        'PUT',
        `${B}/there`,
        'tagging=',
        `<Tagging><TagSet>${'<Tag><Key>a</Key><Value>1</Value></Tag>'.repeat(2)}</TagSet></Tagging>`,
      ),
  ],
  [
    'PutObjectTagging, eleven tags',
    'InvalidTag',
    () =>
      on(
        'PUT',
        `${B}/there`,
        'tagging=',
        `<Tagging><TagSet>${Array.from({ length: 11 }, (_, i) => `<Tag><Key>a${i}</Key><Value>1</Value></Tag>`).join('')}</TagSet></Tagging>`,
      ),
  ],
  [
    'CompleteMultipartUpload, no parts',
    'MalformedXML',
    () => on('POST', `${B}/k`, 'uploadId=x', '<CompleteMultipartUpload/>'),
  ],
  ['PutObjectRetention, not XML', 'MalformedXML', () => on('PUT', `${B}/there`, 'retention=', 'x')],
  ['PutObjectRetention, in the past', 'InvalidArgument', () => retain('2020-01-01T00:00:00Z')],
  ['PutObjectRetention, of a bucket without', 'InvalidRequest', () => retain('2999-01-01T00:00:00Z')],
];

/** What is not there, each as a client would ask for it. */
const missing: [string, string, string][] = [
  ...[
    'policyStatus',
    'accelerate',
    'analytics',
    'inventory',
    'metrics',
    'notification',
    'logging',
    'replication',
  ].map((name): [string, string, string] => ['GET', B, name]),
  ...[
    'requestPayment',
    'publicAccessBlock',
    'ownershipControls',
    'intelligent-tiering',
    'versions',
    'session',
  ].map((name): [string, string, string] => ['GET', B, name]),
  ...[
    'versioning',
    'lifecycle',
    'website',
    'encryption',
    'notification',
    'acl',
    'replication',
    'logging',
  ].map((name): [string, string, string] => ['PUT', B, name]),
  ...['torrent', 'attributes', 'legal-hold'].map((name): [string, string, string] => [
    'GET',
    `${B}/there`,
    name,
  ]),
  ...['acl', 'legal-hold', 'renameObject'].map((name): [string, string, string] => [
    'PUT',
    `${B}/there`,
    name,
  ]),
  ...['select', 'restore'].map((name): [string, string, string] => ['POST', `${B}/there`, name]),
];

const addresses: [string, string, () => Answer][] = [
  ['GetObject, bucket as host name', '200', () => raw(s3, 'GET', '/there', { host: 'raw-bucket.s3.test' })],
  ['ListObjects, bucket as host name', '200', () => raw(s3, 'GET', '/', { host: 'raw-bucket.s3.test' })],
  [
    'PutObject, bucket as host name',
    '200',
    () => raw(s3, 'PUT', '/dir/new', { host: 'raw-bucket.s3.test', body: 'x' }),
  ],
  [
    'GetObject, bucket as host name, none',
    'NoSuchBucket',
    () => raw(s3, 'GET', '/there', { host: 'nobody.s3.test' }),
  ],
  ['ListBuckets, the domain itself', '200', () => raw(s3, 'GET', '/', { host: 's3.test' })],
  ['any, an address that does not decode', 'InvalidArgument', () => send(s3, 'GET', `${B}/%ff`, {})],
  ['any, a method of no use', 'MethodNotAllowed', () => on('PATCH', `${B}/there`, '')],
  ['POST of a form', 'NotImplemented', () => on('POST', B, '')],
  ['DeleteObject, of a version', 'NotImplemented', () => on('DELETE', `${B}/there`, 'versionId=v1')],
  ['GetObject, of a version', 'NotImplemented', () => on('GET', `${B}/there`, 'versionId=v1')],
  ['HeadObject, of a version', '501', () => on('HEAD', `${B}/there`, 'versionId=v1')],
  [
    'PutObjectTagging, of a version',
    'NotImplemented',
    () => on('PUT', `${B}/there`, 'tagging=&versionId=v1', '<Tagging><TagSet/></Tagging>'),
  ],
  [
    'PutObject, with object lock',
    'NotImplemented',
    () => put({ headers: { 'x-amz-object-lock-mode': 'GOVERNANCE' } }),
  ],
  [
    'PutObject, a redirect',
    'NotImplemented',
    () => put({ headers: { 'x-amz-website-redirect-location': '/x' } }),
  ],
  [
    'CopyObject, of a version',
    'NotImplemented',
    () => raw(s3, 'PUT', `${B}/c`, { headers: { 'x-amz-copy-source': `${B}/there?versionId=v1` } }),
  ],
];

test.each([...documents, ...addresses])('%s: %s', async (_operation, wanted, ask) => {
  const { status, code, text } = await ask();
  expect([code, String(status)], text).toContain(wanted);
});

test.each(missing)('%s %s?%s: NotImplemented', async (method, path, name) => {
  expect(await on(method, path, `${name}=`)).toMatchObject({ status: 501, code: 'NotImplemented' });
});

test('of what is not there the document says so', () => {
  const text = readFileSync('docs/s3.md', 'utf8');
  expect(
    missing.filter(
      ([method, path, name]) =>
        !text.includes(`| ${method} ${path === B ? 'bucket' : 'object'}?${name} | NotImplemented |`),
    ),
  ).toEqual([]);
});
