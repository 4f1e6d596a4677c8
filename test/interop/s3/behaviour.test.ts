import * as sdk from '@aws-sdk/client-s3';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { RawstorError } from '../../../src/common/errors.js';
import { MiB } from '../../../src/common/units.js';
import { Buckets } from '../../../src/s3-lite/index.js';
import { failureOf, S3Rig } from './rig.js';

/** What operations do, beyond what they answer: tags, many at once, parts. */

let s3: S3Rig;
let client: sdk.S3Client;
const Bucket = 'behaviour';
beforeAll(async () => {
  s3 = await S3Rig.start();
  client = s3.client();
  await client.send(new sdk.CreateBucketCommand({ Bucket }));
}, 60_000);
afterAll(async () => {
  client.destroy();
  await s3.end();
});

const failure = (command: object) => failureOf(client, command);

test('tags: put, told, counted, taken away; of buckets too', async () => {
  const TagSet = [{ Key: 'a b', Value: 'ü&=' }];
  await client.send(new sdk.PutObjectCommand({ Bucket, Key: 'tagged', Body: '', Tagging: 'x=1&y=2' }));
  expect(
    (await client.send(new sdk.HeadObjectCommand({ Bucket, Key: 'tagged' }))).$metadata.httpStatusCode,
  ).toBe(200);
  const read = async () =>
    (await client.send(new sdk.GetObjectTaggingCommand({ Bucket, Key: 'tagged' }))).TagSet;
  expect(await read()).toEqual([
    { Key: 'x', Value: '1' },
    { Key: 'y', Value: '2' },
  ]);
  await client.send(new sdk.PutObjectTaggingCommand({ Bucket, Key: 'tagged', Tagging: { TagSet } }));
  expect(await read()).toEqual(TagSet);
  await client.send(new sdk.DeleteObjectTaggingCommand({ Bucket, Key: 'tagged' }));
  expect(await read()).toEqual([]);
  await client.send(new sdk.PutBucketTaggingCommand({ Bucket, Tagging: { TagSet } }));
  expect((await client.send(new sdk.GetBucketTaggingCommand({ Bucket }))).TagSet).toEqual(TagSet);
  await client.send(new sdk.DeleteBucketTaggingCommand({ Bucket }));
  expect(await failure(new sdk.GetBucketTaggingCommand({ Bucket }))).toBe('NoSuchTagSet');
});

test('many keys are removed by one request; each answer says of its key', async () => {
  for (const Key of ['m/1', 'm/2']) await client.send(new sdk.PutObjectCommand({ Bucket, Key, Body: 'x' }));
  const Objects = ['m/1', 'm/2', 'm/none'].map((Key) => ({ Key }));
  const { Deleted, Errors } = await client.send(
    new sdk.DeleteObjectsCommand({ Bucket, Delete: { Objects } }),
  );
  expect([Deleted?.map(({ Key }) => Key).sort(), Errors]).toEqual([['m/1', 'm/2', 'm/none'], undefined]);
  expect((await client.send(new sdk.ListObjectsV2Command({ Bucket, Prefix: 'm/' }))).KeyCount).toBe(0);
});

test('parts of one are read by their numbers, ranges across them too', async () => {
  const start = await client.send(new sdk.CreateMultipartUploadCommand({ Bucket, Key: 'big' }));
  const at = { Bucket, Key: 'big', UploadId: start.UploadId };
  const bodies = [Buffer.alloc(5 * MiB, 1), Buffer.from('the end')];
  const Parts: sdk.CompletedPart[] = [];
  for (const [i, Body] of bodies.entries()) {
    const { ETag } = await client.send(new sdk.UploadPartCommand({ ...at, PartNumber: i + 1, Body }));
    Parts.push({ ETag, PartNumber: i + 1 });
  }
  await client.send(new sdk.CompleteMultipartUploadCommand({ ...at, MultipartUpload: { Parts } }));
  expect(await failure(new sdk.AbortMultipartUploadCommand(at))).toBe('NoSuchUpload');
  const read = async (more: object) => {
    const { Body, PartsCount, ContentRange } = await client.send(
      new sdk.GetObjectCommand({ Bucket, Key: 'big', ...more }),
    );
    return { text: await Body!.transformToString('latin1'), PartsCount, ContentRange };
  };
  expect(await read({ PartNumber: 2 })).toEqual({
    text: 'the end',
    PartsCount: 2,
    ContentRange: `bytes ${5 * MiB}-${5 * MiB + 6}/${5 * MiB + 7}`,
  });
  expect((await read({ Range: `bytes=${5 * MiB - 2}-${5 * MiB + 2}` })).text).toBe('\x01\x01the');
});

test('of many keys, one that names a version or another content stays', async () => {
  const { ETag } = await client.send(new sdk.PutObjectCommand({ Bucket, Key: 'd/kept', Body: 'kept' }));
  await client.send(new sdk.PutObjectCommand({ Bucket, Key: 'd/goes', Body: 'kept' }));
  const Objects = [
    { Key: 'd/kept', VersionId: 'abc' },
    { Key: 'd/kept', ETag: '"00000000000000000000000000000000"' },
    { Key: 'd/kept', ETag, Size: 5 },
    { Key: 'd/kept', ETag, LastModifiedTime: new Date(0) },
    { Key: 'd/goes', VersionId: 'null', ETag, Size: 4 },
    { Key: 'd/none', ETag },
  ];
  const { Deleted, Errors } = await client.send(
    new sdk.DeleteObjectsCommand({ Bucket, Delete: { Objects } }),
  );
  expect(Deleted?.map(({ Key }) => Key).sort()).toEqual(['d/goes', 'd/none']);
  const refused = ['NotImplemented', 'PreconditionFailed', 'PreconditionFailed', 'PreconditionFailed'];
  expect(Errors?.map(({ Key, Code }) => `${Key} ${Code}`).sort()).toEqual(
    refused.map((one) => `d/kept ${one}`),
  );
  const { Contents } = await client.send(new sdk.ListObjectsV2Command({ Bucket, Prefix: 'd/' }));
  expect(Contents?.map(({ Key }) => Key)).toEqual(['d/kept']);
});

test('an upload whose completion was refused is completed with all of its parts', async () => {
  const at = { Bucket, Key: 'twice' };
  const { UploadId } = await client.send(new sdk.CreateMultipartUploadCommand(at));
  const bodies = [1, 2].map((byte) => Buffer.alloc(5 * MiB, byte));
  const Parts: sdk.CompletedPart[] = [];
  for (const [i, Body] of bodies.entries()) {
    const part = { ...at, UploadId, PartNumber: i + 1, Body };
    const { ETag } = await client.send(new sdk.UploadPartCommand(part));
    Parts.push({ ETag, PartNumber: i + 1 });
  }
  const complete = (parts: sdk.CompletedPart[], more: object = {}) =>
    new sdk.CompleteMultipartUploadCommand({ ...at, UploadId, MultipartUpload: { Parts: parts }, ...more });
  expect(await failure(complete(Parts.slice(0, 1), { IfMatch: '"0123"' }))).toBe('NoSuchKey');
  // One that fails later than that, when all of its data is frozen.
  const { catalog } = s3.s3.store;
  const transact = catalog.transact;
  catalog.transact = async () => {
    catalog.transact = transact;
    throw new RawstorError('INTERNAL', 'planned by the test');
  };
  const once = s3.client(1);
  await expect(once.send(complete(Parts.slice(0, 1)))).rejects.toMatchObject({ name: 'InternalError' });
  once.destroy();
  await client.send(complete(Parts));
  const { Body } = await client.send(new sdk.GetObjectCommand(at));
  expect(Buffer.from(await Body!.transformToByteArray()).equals(Buffer.concat(bodies))).toBe(true);
}, 60_000);

test('a removal of a bucket that was cut short hides nothing for long, and can go on', async () => {
  const { catalog } = s3.s3.store;
  const mark = async (name: string) => {
    await client.send(new sdk.CreateBucketCommand({ Bucket: name }));
    const row = (await catalog.get<object>(`bucket/${name}`))!;
    await catalog.transact({ puts: [{ key: row.key, value: { ...row.value, removing: true } }] });
  };
  for (const name of ['cut-empty', 'cut-again', 'cut-full', 'cut-swept']) await mark(name);
  const inside = (name: string) => ({
    puts: [{ key: `key/${name}/precious`, value: { id: 'x', extents: [] } }],
  });
  for (const name of ['cut-full', 'cut-swept']) await catalog.transact(inside(name));
  await client.send(new sdk.DeleteBucketCommand({ Bucket: 'cut-empty' }));
  expect(await catalog.get('bucket/cut-empty')).toBeNull();
  await client.send(new sdk.CreateBucketCommand({ Bucket: 'cut-again' }));
  expect(await failure(new sdk.DeleteBucketCommand({ Bucket: 'cut-full' }))).toBe('BucketNotEmpty');
  const buckets = new Buckets(catalog);
  expect(await buckets.sweep(0, 1000)).toBe(0);
  expect(await failure(new sdk.HeadBucketCommand({ Bucket: 'cut-swept' }))).toBe('NotFound');
  expect(await buckets.sweep(1000, 1000)).toBe(1);
  const { Buckets: all = [] } = await client.send(new sdk.ListBucketsCommand({}));
  const names = all.map(({ Name }) => Name).filter((name) => name?.startsWith('cut-'));
  expect(names).toEqual(['cut-again', 'cut-full', 'cut-swept']);
});

test('a bucket that is full is there all the time that its removal is refused', async () => {
  await client.send(new sdk.CreateBucketCommand({ Bucket: 'full' }));
  await client.send(new sdk.PutObjectCommand({ Bucket: 'full', Key: 'key', Body: 'x' }));
  const before = await s3.s3.store.catalog.get('bucket/full');
  expect(await failure(new sdk.DeleteBucketCommand({ Bucket: 'full' }))).toBe('BucketNotEmpty');
  expect(await s3.s3.store.catalog.get('bucket/full')).toEqual(before);
});
