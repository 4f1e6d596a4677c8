import * as sdk from '@aws-sdk/client-s3';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { S3Rig } from './rig.js';

/** What S3 answers where something is not as it should be: docs/s3.md has the same table. */

let s3: S3Rig;
let client: sdk.S3Client;
const Bucket = 'errors';

function clientOf(accessKeyId: string, secretAccessKey: string): sdk.S3Client {
  const credentials = { accessKeyId, secretAccessKey };
  return new sdk.S3Client({
    endpoint: s3.url,
    region: 'us-east-1',
    credentials,
    forcePathStyle: true,
    maxAttempts: 1,
  });
}

beforeAll(async () => {
  s3 = await S3Rig.start();
  client = clientOf(s3.keyId, s3.secret);
  await client.send(new sdk.CreateBucketCommand({ Bucket }));
  await client.send(new sdk.PutObjectCommand({ Bucket, Key: 'there', Body: 'content' }));
}, 60_000);
afterAll(async () => {
  client.destroy();
  await s3.end();
});

const nowhere = 'no-such-bucket';
const UploadId = 'f'.repeat(32);
const cases: [string, string, () => object][] = [
  ['GetObject', 'NoSuchKey', () => new sdk.GetObjectCommand({ Bucket, Key: 'gone' })],
  ['GetObject', 'NoSuchBucket', () => new sdk.GetObjectCommand({ Bucket: nowhere, Key: 'k' })],
  ['GetObject', 'InvalidRange', () => new sdk.GetObjectCommand({ Bucket, Key: 'there', Range: 'bytes=7-' })],
  [
    'GetObject',
    'PreconditionFailed',
    () => new sdk.GetObjectCommand({ Bucket, Key: 'there', IfMatch: '"x"' }),
  ],
  ['GetObject', '304', () => new sdk.GetObjectCommand({ Bucket, Key: 'there', IfNoneMatch: '*' })],
  ['GetObject', 'InvalidArgument', () => new sdk.GetObjectCommand({ Bucket, Key: 'there', PartNumber: 0 })],
  ['HeadObject', 'NotFound', () => new sdk.HeadObjectCommand({ Bucket, Key: 'gone' })],
  ['HeadBucket', 'NotFound', () => new sdk.HeadBucketCommand({ Bucket: nowhere })],
  ['PutObject', 'NoSuchBucket', () => new sdk.PutObjectCommand({ Bucket: nowhere, Key: 'k', Body: 'a' })],
  [
    'PutObject',
    'PreconditionFailed',
    () => new sdk.PutObjectCommand({ Bucket, Key: 'there', Body: 'a', IfNoneMatch: '*' }),
  ],
  [
    'PutObject',
    'InvalidDigest',
    () => new sdk.PutObjectCommand({ Bucket, Key: 'k', Body: 'a', ContentMD5: 'xx' }),
  ],
  [
    'PutObject',
    'BadDigest',
    () => new sdk.PutObjectCommand({ Bucket, Key: 'k', Body: 'a', ContentMD5: 'AAAAAAAAAAAAAAAAAAAAAA==' }),
  ],
  [
    'PutObject',
    'BadDigest',
    () => new sdk.PutObjectCommand({ Bucket, Key: 'k', Body: 'a', ChecksumCRC32: 'AAAAAA==' }),
  ],
  [
    'PutObject',
    'InvalidRequest',
    () => new sdk.PutObjectCommand({ Bucket, Key: 'k', Body: 'a', ChecksumSHA256: 'AAAA' }),
  ],
  [
    'PutObject',
    'KeyTooLongError',
    () => new sdk.PutObjectCommand({ Bucket, Key: 'k'.repeat(1025), Body: 'a' }),
  ],
  [
    'PutObject',
    'MetadataTooLarge',
    () => new sdk.PutObjectCommand({ Bucket, Key: 'k', Body: 'a', Metadata: { a: 'b'.repeat(2100) } }),
  ],
  [
    'PutObject',
    'InvalidTag',
    () => new sdk.PutObjectCommand({ Bucket, Key: 'k', Body: 'a', Tagging: `${'a'.repeat(129)}=1` }),
  ],
  [
    'PutObject',
    'NotImplemented',
    () => new sdk.PutObjectCommand({ Bucket, Key: 'k', Body: 'a', ServerSideEncryption: 'AES256' }),
  ],
  [
    'CopyObject',
    'NoSuchKey',
    () => new sdk.CopyObjectCommand({ Bucket, Key: 'k', CopySource: `${Bucket}/gone` }),
  ],
  [
    'CopyObject',
    'InvalidRequest',
    () => new sdk.CopyObjectCommand({ Bucket, Key: 'there', CopySource: `${Bucket}/there` }),
  ],
  [
    'CopyObject',
    'InvalidArgument',
    () => new sdk.CopyObjectCommand({ Bucket, Key: 'k', CopySource: 'nothing' }),
  ],
  ['CreateBucket', 'InvalidBucketName', () => new sdk.CreateBucketCommand({ Bucket: 'Bad_Name' })],
  ['CreateBucket', 'BucketAlreadyOwnedByYou', () => new sdk.CreateBucketCommand({ Bucket })],
  ['DeleteBucket', 'BucketNotEmpty', () => new sdk.DeleteBucketCommand({ Bucket })],
  ['DeleteBucket', 'NoSuchBucket', () => new sdk.DeleteBucketCommand({ Bucket: nowhere })],
  ['ListObjectsV2', 'NoSuchBucket', () => new sdk.ListObjectsV2Command({ Bucket: nowhere })],
  [
    'ListObjectsV2',
    'InvalidArgument',
    () => new sdk.ListObjectsV2Command({ Bucket, ContinuationToken: '*' }),
  ],
  [
    'UploadPart',
    'NoSuchUpload',
    () => new sdk.UploadPartCommand({ Bucket, Key: 'k', UploadId, PartNumber: 1, Body: 'a' }),
  ],
  [
    'UploadPart',
    'InvalidArgument',
    () => new sdk.UploadPartCommand({ Bucket, Key: 'k', UploadId, PartNumber: 10001, Body: 'a' }),
  ],
  ['ListParts', 'NoSuchUpload', () => new sdk.ListPartsCommand({ Bucket, Key: 'k', UploadId })],
  [
    'AbortMultipartUpload',
    'NoSuchUpload',
    () => new sdk.AbortMultipartUploadCommand({ Bucket, Key: 'k', UploadId }),
  ],
  ['GetBucketCors', 'NoSuchCORSConfiguration', () => new sdk.GetBucketCorsCommand({ Bucket })],
  ['GetBucketTagging', 'NoSuchTagSet', () => new sdk.GetBucketTaggingCommand({ Bucket })],
  ['GetBucketPolicy', 'NoSuchBucketPolicy', () => new sdk.GetBucketPolicyCommand({ Bucket })],
  ['GetBucketWebsite', 'NoSuchWebsiteConfiguration', () => new sdk.GetBucketWebsiteCommand({ Bucket })],
  [
    'GetObjectLockConfiguration',
    'ObjectLockConfigurationNotFoundError',
    () => new sdk.GetObjectLockConfigurationCommand({ Bucket }),
  ],
  ['PutBucketPolicy', 'NotImplemented', () => new sdk.PutBucketPolicyCommand({ Bucket, Policy: '{}' })],
];

test.each(cases)('%s: %s', async (_operation, code, command) => {
  const error = await client.send(command() as never).then(
    () => null,
    (thrown: { name: string; $metadata?: { httpStatusCode?: number } }) => thrown,
  );
  expect([error?.name, String(error?.$metadata?.httpStatusCode)]).toContain(code);
});

test('of authentication: an unknown key, a wrong secret, a right that is not there, no signature', async () => {
  const get = new sdk.GetObjectCommand({ Bucket, Key: 'there' });
  await expect(clientOf('RSAAAAAAAAAAAAAAAAAA', 'x').send(get)).rejects.toMatchObject({
    name: 'InvalidAccessKeyId',
  });
  await expect(clientOf(s3.keyId, 'x').send(get)).rejects.toMatchObject({ name: 'SignatureDoesNotMatch' });
  const { keyId, secret } = await s3.key({ [Bucket]: 'read' });
  const reader = clientOf(keyId, secret);
  expect(await (await reader.send(get)).Body!.transformToString()).toBe('content');
  const put = new sdk.PutObjectCommand({ Bucket, Key: 'k', Body: 'a' });
  await expect(reader.send(put)).rejects.toMatchObject({ name: 'AccessDenied' });
  expect((await fetch(`${s3.url}/${Bucket}/there`)).status).toBe(403);
});

test('a bucket that retains refuses to remove and to overwrite', async () => {
  const retained = { Bucket: 'retained', Key: 'k' };
  await client.send(new sdk.CreateBucketCommand({ Bucket: 'retained' }));
  const Rule = { DefaultRetention: { Mode: 'COMPLIANCE', Days: 1 } } as const;
  const ObjectLockConfiguration = { ObjectLockEnabled: 'Enabled', Rule } as const;
  await client.send(
    new sdk.PutObjectLockConfigurationCommand({ Bucket: 'retained', ObjectLockConfiguration }),
  );
  await client.send(new sdk.PutObjectCommand({ ...retained, Body: 'a' }));
  await expect(client.send(new sdk.DeleteObjectCommand(retained))).rejects.toMatchObject({
    name: 'AccessDenied',
  });
  const again = new sdk.PutObjectCommand({ ...retained, Body: 'b' });
  await expect(client.send(again)).rejects.toMatchObject({ name: 'AccessDenied' });
});

test('pages of a listing have every key once, whatever the delimiter', async () => {
  const keys = ['a', 'a/1', 'a/2', 'a0', 'b/x/1', 'b/x/2', 'b/y', 'c', 'я/1'];
  await client.send(new sdk.CreateBucketCommand({ Bucket: 'listed' }));
  for (const Key of keys) await client.send(new sdk.PutObjectCommand({ Bucket: 'listed', Key, Body: '' }));
  for (const Delimiter of [undefined, '/']) {
    const found: string[] = [];
    for (let ContinuationToken: string | undefined, more = true; more; ) {
      const page = await client.send(
        new sdk.ListObjectsV2Command({ Bucket: 'listed', MaxKeys: 2, Delimiter, ContinuationToken }),
      );
      found.push(...(page.Contents ?? []).map((one) => one.Key!));
      found.push(...(page.CommonPrefixes ?? []).map((one) => one.Prefix!));
      expect(page.KeyCount).toBeLessThanOrEqual(2);
      more = page.IsTruncated === true;
      ContinuationToken = page.NextContinuationToken;
    }
    expect(found.sort()).toEqual(Delimiter === undefined ? keys : ['a', 'a/', 'a0', 'b/', 'c', 'я/']);
  }
});
