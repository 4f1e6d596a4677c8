import * as sdk from '@aws-sdk/client-s3';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { S3Rig } from './rig.js';

/** What operations answer by conditions, ranges, sums, tags and browsers' questions: docs/s3.md has the same table. */

let s3: S3Rig;
let client: sdk.S3Client;
const Bucket = 'operations';
const there = { Bucket, Key: 'there' };
const MiB = 1024 * 1024;
let UploadId = '';
let etag = '';
beforeAll(async () => {
  s3 = await S3Rig.start();
  client = s3.client();
  await client.send(new sdk.CreateBucketCommand({ Bucket }));
  const put = await client.send(
    new sdk.PutObjectCommand({ ...there, Body: '0123456789', ContentType: 'text/plain' }),
  );
  etag = put.ETag!;
  ({ UploadId = '' } = await client.send(new sdk.CreateMultipartUploadCommand({ Bucket, Key: 'parts' })));
  for (const [PartNumber, bytes] of [
    [1, 5 * MiB],
    [2, 5],
    [3, 7],
  ] as const) {
    await client.send(
      new sdk.UploadPartCommand({ Bucket, Key: 'parts', UploadId, PartNumber, Body: Buffer.alloc(bytes) }),
    );
  }
}, 60_000);
afterAll(async () => {
  client.destroy();
  await s3.end();
});

/** Its status, or the code of its error. */
async function sent(command: object): Promise<string[]> {
  try {
    const { $metadata } = (await client.send(command as never)) as { $metadata: { httpStatusCode: number } };
    return [String($metadata.httpStatusCode)];
  } catch (error) {
    const { name, $metadata } = error as { name: string; $metadata?: { httpStatusCode?: number } };
    return [name, String($metadata?.httpStatusCode)];
  }
}
const get = (more: object) => () => sent(new sdk.GetObjectCommand({ ...there, ...more }));
const head = (more: object) => () => sent(new sdk.HeadObjectCommand({ ...there, ...more }));
const put = (more: object) => () =>
  sent(new sdk.PutObjectCommand({ Bucket, Key: 'new', Body: 'abc', ...more }));
const copy = (more: object) => () =>
  sent(new sdk.CopyObjectCommand({ Bucket, Key: 'copy', CopySource: `${Bucket}/there`, ...more }));
const begin = (more: object) => () =>
  sent(new sdk.CreateMultipartUploadCommand({ Bucket, Key: 'k', ...more }));
const part = (more: object) => () =>
  sent(new sdk.UploadPartCommand({ Bucket, Key: 'parts', UploadId, PartNumber: 9, Body: 'abc', ...more }));
const partCopy = (more: object) => () =>
  sent(
    new sdk.UploadPartCopyCommand({
      Bucket,
      Key: 'parts',
      UploadId,
      PartNumber: 8,
      CopySource: `${Bucket}/there`,
      ...more,
    }),
  );
const complete =
  (Parts: sdk.CompletedPart[], more: object = {}) =>
  () =>
    sent(
      new sdk.CompleteMultipartUploadCommand({
        Bucket,
        Key: 'parts',
        UploadId,
        MultipartUpload: { Parts },
        ...more,
      }),
    );
const list = (more: object) => () => sent(new sdk.ListObjectsV2Command({ Bucket, ...more }));
const past = new Date(Date.now() - 86_400_000);
const future = new Date(Date.now() + 86_400_000);
const sums = {
  CRC32: 'NSRBwg==',
  CRC32C: 'Nks/tw==',
  SHA1: 'qZk+NkcGgWq6PiVxeFDCbJzQ2J0=',
  SHA256: 'ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=',
};
type Case = [string, string, () => Promise<string[]>];
const cases: Case[] = [
  ['ListBuckets', '200', () => sent(new sdk.ListBucketsCommand({}))],
  ['HeadBucket', '200', () => sent(new sdk.HeadBucketCommand({ Bucket }))],
  ['GetBucketLocation', '200', () => sent(new sdk.GetBucketLocationCommand({ Bucket }))],
  ['GetBucketVersioning', '200', () => sent(new sdk.GetBucketVersioningCommand({ Bucket }))],
  ['GetBucketAcl', '200', () => sent(new sdk.GetBucketAclCommand({ Bucket }))],
  ['GetBucketAcl', 'NoSuchBucket', () => sent(new sdk.GetBucketAclCommand({ Bucket: 'nobody' }))],
  ['GetObjectAcl', '200', () => sent(new sdk.GetObjectAclCommand(there))],
  ['GetObjectAcl', 'NoSuchKey', () => sent(new sdk.GetObjectAclCommand({ Bucket, Key: 'gone' }))],
  [
    'GetBucketLifecycleConfiguration',
    'NoSuchLifecycleConfiguration',
    () => sent(new sdk.GetBucketLifecycleConfigurationCommand({ Bucket })),
  ],
  [
    'GetBucketEncryption',
    'ServerSideEncryptionConfigurationNotFoundError',
    () => sent(new sdk.GetBucketEncryptionCommand({ Bucket })),
  ],
  ['GetObject, a range', '206', get({ Range: 'bytes=2-4' })],
  ['GetObject, a range to the end', '206', get({ Range: 'bytes=2-' })],
  ['GetObject, the last bytes', '206', get({ Range: 'bytes=-3' })],
  ['GetObject, a range that is none', '200', get({ Range: 'lines=1-2' })],
  ['GetObject, the last no bytes', 'InvalidRange', get({ Range: 'bytes=-0' })],
  ['GetObject, If-Match', '200', () => get({ IfMatch: etag })()],
  ['GetObject, If-None-Match of it', '304', () => get({ IfNoneMatch: etag })()],
  ['GetObject, If-None-Match of another', '200', get({ IfNoneMatch: '"x"' })],
  ['GetObject, If-Modified-Since later', '304', get({ IfModifiedSince: future })],
  ['GetObject, If-Modified-Since before', '200', get({ IfModifiedSince: past })],
  ['GetObject, If-Unmodified-Since before', 'PreconditionFailed', get({ IfUnmodifiedSince: past })],
  [
    'GetObject, If-Match and If-Unmodified-Since',
    '200',
    () => get({ IfMatch: etag, IfUnmodifiedSince: past })(),
  ],
  ['GetObject, a part of one', '206', get({ PartNumber: 1 })],
  ['GetObject, a part that is not there', 'InvalidPartNumber', get({ PartNumber: 2 })],
  ['GetObject, a part and a range', 'InvalidRequest', get({ PartNumber: 1, Range: 'bytes=0-1' })],
  ['HeadObject', '200', head({})],
  ['HeadObject, If-None-Match', '304', () => head({ IfNoneMatch: etag })()],
  ['HeadObject, If-Match', '412', head({ IfMatch: '"x"' })],
  ['HeadObject, a range', '206', head({ Range: 'bytes=0-1' })],
  ['PutObject, CRC32', '200', put({ ChecksumCRC32: sums.CRC32 })],
  ['PutObject, a wrong CRC32', 'BadDigest', put({ Body: 'abd', ChecksumCRC32: sums.CRC32 })],
  ['PutObject, CRC32C', '200', put({ ChecksumCRC32C: sums.CRC32C })],
  ['PutObject, a wrong CRC32C', 'BadDigest', put({ Body: 'abd', ChecksumCRC32C: sums.CRC32C })],
  ['PutObject, SHA1', '200', put({ ChecksumSHA1: sums.SHA1 })],
  ['PutObject, a wrong SHA1', 'BadDigest', put({ Body: 'abd', ChecksumSHA1: sums.SHA1 })],
  ['PutObject, SHA256', '200', put({ ChecksumSHA256: sums.SHA256 })],
  ['PutObject, a wrong SHA256', 'BadDigest', put({ Body: 'abd', ChecksumSHA256: sums.SHA256 })],
  ['PutObject, Content-MD5', '200', put({ ContentMD5: 'kAFQmDzST7DWlj99KOF/cg==' })],
  ['PutObject, If-Match of it', '200', () => put({ Key: 'there', Body: '0123456789', IfMatch: etag })()],
  ['PutObject, If-Match of nothing', 'NoSuchKey', put({ Key: 'nothing', IfMatch: '"x"' })],
  [
    'PutObject, eleven tags',
    'InvalidTag',
    put({ Tagging: Array.from({ length: 11 }, (_, i) => `a${i}=1`).join('&') }),
  ],
  ['PutObject, encrypted by the server', 'NotImplemented', put({ ServerSideEncryption: 'aws:kms' })],
  ['DeleteObject, not there', '204', () => sent(new sdk.DeleteObjectCommand({ Bucket, Key: 'gone' }))],
  ['DeleteObject', 'NoSuchBucket', () => sent(new sdk.DeleteObjectCommand({ Bucket: 'nobody', Key: 'k' }))],
  [
    'DeleteObject, If-Match',
    'PreconditionFailed',
    () => sent(new sdk.DeleteObjectCommand({ ...there, IfMatch: '"x"' })),
  ],
  [
    'DeleteObjects',
    'NoSuchBucket',
    () => sent(new sdk.DeleteObjectsCommand({ Bucket: 'nobody', Delete: { Objects: [{ Key: 'a' }] } })),
  ],
  ['CopyObject', '200', copy({})],
  [
    'CopyObject, to itself with other metadata',
    '200',
    copy({ Key: 'there', MetadataDirective: 'REPLACE', Metadata: { a: 'b' } }),
  ],
  ['CopyObject', 'NoSuchBucket', copy({ CopySource: 'nobody/k' })],
  ['CopyObject, to no bucket', 'NoSuchBucket', copy({ Bucket: 'nobody' })],
  ['CopyObject, If-Match of the source', 'PreconditionFailed', copy({ CopySourceIfMatch: '"x"' })],
  [
    'CopyObject, If-None-Match of the source',
    'PreconditionFailed',
    () => copy({ CopySourceIfNoneMatch: etag })(),
  ],
  ['CreateMultipartUpload', 'NoSuchBucket', begin({ Bucket: 'nobody' })],
  [
    'CreateMultipartUpload, a full SHA256',
    'InvalidRequest',
    begin({ ChecksumAlgorithm: 'SHA256', ChecksumType: 'FULL_OBJECT' }),
  ],
  [
    'CreateMultipartUpload, a composite CRC64NVME',
    'InvalidRequest',
    begin({ ChecksumAlgorithm: 'CRC64NVME', ChecksumType: 'COMPOSITE' }),
  ],
  ['UploadPart', '200', part({})],
  ['UploadPart', 'BadDigest', part({ ContentMD5: 'AAAAAAAAAAAAAAAAAAAAAA==' })],
  ['UploadPart, of another key', 'NoSuchUpload', part({ Key: 'other' })],
  ['UploadPartCopy', '200', partCopy({})],
  ['UploadPartCopy, a range', '200', partCopy({ CopySourceRange: 'bytes=1-3' })],
  ['UploadPartCopy, a range behind the end', 'InvalidRange', partCopy({ CopySourceRange: 'bytes=1-10' })],
  ['UploadPartCopy, a range that is none', 'InvalidArgument', partCopy({ CopySourceRange: 'bytes=1-' })],
  ['UploadPartCopy', 'NoSuchKey', partCopy({ CopySource: `${Bucket}/gone` })],
  ['ListParts', '200', () => sent(new sdk.ListPartsCommand({ Bucket, Key: 'parts', UploadId, MaxParts: 1 }))],
  [
    'ListMultipartUploads',
    '200',
    () => sent(new sdk.ListMultipartUploadsCommand({ Bucket, Prefix: 'p', Delimiter: '/' })),
  ],
  [
    'ListMultipartUploads',
    'NoSuchBucket',
    () => sent(new sdk.ListMultipartUploadsCommand({ Bucket: 'nobody' })),
  ],
  [
    'CompleteMultipartUpload, a part that is not there',
    'InvalidPart',
    complete([{ PartNumber: 4, ETag: 'x' }]),
  ],
  ['CompleteMultipartUpload, another ETag', 'InvalidPart', complete([{ PartNumber: 1, ETag: 'x' }])],
  [
    'CompleteMultipartUpload, out of order',
    'InvalidPartOrder',
    complete([
      { PartNumber: 2, ETag: 'x' },
      { PartNumber: 1, ETag: 'x' },
    ]),
  ],
  [
    'CompleteMultipartUpload, a small part before the last',
    'EntityTooSmall',
    async () => complete((await partsOf()).slice(1))(),
  ],
  ['CompleteMultipartUpload', 'NoSuchUpload', complete([{ PartNumber: 1, ETag: 'x' }], { UploadId: 'none' })],
  [
    'CompleteMultipartUpload, another size',
    'InvalidRequest',
    async () => complete((await partsOf()).slice(0, 2), { MpuObjectSize: 5 })(),
  ],
  ['ListObjects', '200', () => sent(new sdk.ListObjectsCommand({ Bucket, Marker: 'a', Prefix: 't' }))],
  ['ListObjects', 'NoSuchBucket', () => sent(new sdk.ListObjectsCommand({ Bucket: 'nobody' }))],
  ['ListObjectsV2, no keys', '200', list({ MaxKeys: 0 })],
  ['ListObjectsV2, fewer than none', 'InvalidArgument', list({ MaxKeys: -1 })],
  ['ListObjectsV2, after a key', '200', list({ StartAfter: 'a', EncodingType: 'url' })],
  [
    'PutObjectTagging',
    '200',
    () =>
      sent(new sdk.PutObjectTaggingCommand({ ...there, Tagging: { TagSet: [{ Key: 'a', Value: 'b' }] } })),
  ],
  [
    'PutObjectTagging',
    'NoSuchKey',
    () => sent(new sdk.PutObjectTaggingCommand({ Bucket, Key: 'gone', Tagging: { TagSet: [] } })),
  ],
  ['GetObjectTagging', 'NoSuchKey', () => sent(new sdk.GetObjectTaggingCommand({ Bucket, Key: 'gone' }))],
  [
    'DeleteObjectTagging',
    'NoSuchKey',
    () => sent(new sdk.DeleteObjectTaggingCommand({ Bucket, Key: 'gone' })),
  ],
  [
    'PutBucketTagging',
    'NoSuchBucket',
    () => sent(new sdk.PutBucketTaggingCommand({ Bucket: 'nobody', Tagging: { TagSet: [] } })),
  ],
  ['DeleteBucketCors', 'NoSuchBucket', () => sent(new sdk.DeleteBucketCorsCommand({ Bucket: 'nobody' }))],
  [
    'GetObjectRetention',
    'NoSuchObjectLockConfiguration',
    () => sent(new sdk.GetObjectRetentionCommand(there)),
  ],
];

async function partsOf(): Promise<sdk.CompletedPart[]> {
  const { Parts = [] } = await client.send(new sdk.ListPartsCommand({ Bucket, Key: 'parts', UploadId }));
  return Parts.map(({ ETag, PartNumber }) => ({ ETag, PartNumber }) as sdk.CompletedPart);
}

test.each(cases)('%s: %s', async (_operation, wanted, ask) => {
  expect(await ask()).toContain(wanted);
});
