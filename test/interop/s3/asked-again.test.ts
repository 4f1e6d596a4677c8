import * as sdk from '@aws-sdk/client-s3';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Extent } from '../../../src/client/index.js';
import { systemClock } from '../../../src/common/clock.js';
import { RawstorError } from '../../../src/common/errors.js';
import { MiB } from '../../../src/common/units.js';
import { Buckets, type ObjectRow, ROW } from '../../../src/s3-lite/index.js';
import { Uploads } from '../../../src/s3-lite/uploads.js';
import { failureOf, S3Rig } from './rig.js';

/** Requests whose answer did not arrive, uploads that end elsewhere, owners that are not whom somebody expects. */

let s3: S3Rig;
let client: sdk.S3Client;
const Bucket = 'again';
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

async function uploaded(Key: string) {
  const { UploadId } = await client.send(new sdk.CreateMultipartUploadCommand({ Bucket, Key }));
  const at = { Bucket, Key, UploadId };
  const Parts: sdk.CompletedPart[] = [];
  for (const [i, Body] of [Buffer.alloc(5 * MiB, 1), Buffer.from('the end')].entries()) {
    const { ETag } = await client.send(new sdk.UploadPartCommand({ ...at, PartNumber: i + 1, Body }));
    Parts.push({ ETag, PartNumber: i + 1 });
  }
  return { at, Parts };
}

test('a completion that is asked for again is answered again, also by two at once', async () => {
  const { at, Parts } = await uploaded('twice');
  const complete = (parts = Parts) =>
    client.send(new sdk.CompleteMultipartUploadCommand({ ...at, MultipartUpload: { Parts: parts } }));
  const [one, two] = await Promise.all([complete(), complete()]);
  const three = await complete();
  expect([two.ETag, three.ETag]).toEqual([one.ETag, one.ETag]);
  const other = new sdk.CompleteMultipartUploadCommand({
    ...at,
    MultipartUpload: { Parts: Parts.slice(0, 1) },
  });
  expect(await failure(other)).toBe('NoSuchUpload');
  await client.send(new sdk.PutObjectCommand({ Bucket, Key: 'twice', Body: 'newer' }));
  const again = new sdk.CompleteMultipartUploadCommand({ ...at, MultipartUpload: { Parts } });
  expect(await failure(again)).toBe('NoSuchUpload');
});

test.each([
  ['pieces that are many', 3000, null],
  ['pieces whose coding takes much of a row', 450, Buffer.alloc(250_000)],
])('parts of %s become one that a row can name', async (Key, pieces, salts) => {
  const { store } = s3.s3;
  const uploads = new Uploads(store, systemClock);
  const { UploadId = '' } = await client.send(new sdk.CreateMultipartUploadCommand({ Bucket, Key }));
  // As parts lie that came through two gateways by turns.
  const writers = await Promise.all([store.writer(MiB), store.writer(MiB)]);
  const places: Extent[] = [];
  for (const [i, writer] of writers.entries()) {
    await writer.write(Buffer.alloc(MiB, i + 1));
    places.push((await store.finish(writer))[0]!);
  }
  const extents = Array.from({ length: pieces }, (_, i) => ({ ...places[i % 2]!, length: 512 }));
  const sizeBytes = salts === null ? pieces * 512 : 5 * MiB;
  const coding =
    salts === null ? null : { frameBytes: 131_072, streams: [[1, sizeBytes, pieces * 512] as const], salts };
  const found = await uploads.find(Bucket, Key, UploadId);
  const etag = '0'.repeat(32);
  const row = { upload: found.row.key, extents, coding, sizeBytes, etag, modifiedMs: 1, checksum: null };
  const numbers = salts === null ? [1] : [1, 2];
  for (const number of numbers) await uploads.put(found, number, { ...row, id: `${Key}${number}` });
  for (const writer of writers) await writer.release();
  const Parts = numbers.map((PartNumber) => ({ PartNumber, ETag: etag }));
  const at = { Bucket, Key, UploadId };
  await client.send(new sdk.CompleteMultipartUploadCommand({ ...at, MultipartUpload: { Parts } }));
  const kept = (await store.catalog.get<ObjectRow>(ROW.key(Bucket, Key)))!.value;
  expect(kept.extents.map(({ length }) => length)).toEqual([numbers.length * pieces * 512]);
  if (salts !== null) return;
  const { Body } = await client.send(new sdk.GetObjectCommand({ Bucket, Key }));
  const wanted = Buffer.concat(extents.map((_, i) => Buffer.alloc(512, (i % 2) + 1)));
  expect(wanted.equals(await Body!.transformToByteArray())).toBe(true);
});

test('what is open for an upload that ended through another gateway is let go', async () => {
  const { store } = s3.s3;
  const here = new Uploads(store, systemClock);
  const id = await here.begin(await new Buckets(store.catalog).get(Bucket), 'elsewhere', {
    headers: {},
    meta: {},
    tags: {},
    initiatedMs: Date.now(),
    owner: 'me',
    checksumName: null,
    fullChecksum: false,
  });
  const upload = await here.find(Bucket, 'elsewhere', id);
  const writer = await here.writer(upload, 1, 5 * MiB, null);
  const { volume } = writer.place!.object;
  await writer.abort();
  const isOpen = async () =>
    (await s3.rig.cluster.mds.call('mds.getObj', { ref: volume.object.id }).catch(() => null))?.lease != null;
  await here.sweep();
  expect(await isOpen()).toBe(true);
  const UploadId = id;
  await client.send(new sdk.AbortMultipartUploadCommand({ Bucket, Key: 'elsewhere', UploadId }));
  await here.sweep();
  expect(await isOpen()).toBe(false);
  await here.close();
});

test('a part is recorded though the row of its upload has another version, as after a recovery', async () => {
  const { store } = s3.s3;
  const uploads = new Uploads(store, systemClock);
  const at = { Bucket, Key: 'recovered' };
  const { UploadId = '' } = await client.send(new sdk.CreateMultipartUploadCommand(at));
  const found = await uploads.find(Bucket, at.Key, UploadId);
  await store.catalog.transact({ puts: [{ key: found.row.key, value: found.row.value }] });
  const row = { id: 'part', upload: found.row.key, extents: [], sizeBytes: 0, etag: '0'.repeat(32) };
  await uploads.put(found, 1, { ...row, modifiedMs: 1, checksum: null });
  const { Parts = [] } = await client.send(new sdk.ListPartsCommand({ ...at, UploadId }));
  expect(Parts.length).toBe(1);
});

test('what is answered again is in a journal, though the one of the first time was lost', async () => {
  const { keeper } = s3.s3.store;
  const { keep } = keeper;
  const once = s3.client(1);
  const { at, Parts } = await uploaded('lost');
  await client.send(new sdk.PutObjectCommand({ Bucket, Key: 'lost-too', Body: 'x' }));
  const commands = [
    new sdk.CreateBucketCommand({ Bucket: 'lost-bucket' }),
    new sdk.CompleteMultipartUploadCommand({ ...at, MultipartUpload: { Parts } }),
    new sdk.DeleteObjectCommand({ Bucket, Key: 'lost-too' }),
  ];
  const kept: string[][] = [];
  try {
    for (const command of commands) {
      const lost: string[] = [];
      keeper.keep = async ({ puts, deletes }) => {
        lost.push(...puts.map(([key]) => `+${key}`), ...deletes.map((key) => `-${key}`));
        throw new RawstorError('UNAVAILABLE', 'the journal is gone');
      };
      expect(await failureOf(once, command)).toBe('ServiceUnavailable');
      const again: string[] = [];
      keeper.keep = async (record) => {
        again.push(...record.puts.map(([key]) => `+${key}`), ...record.deletes.map((key) => `-${key}`));
        return keep.call(keeper, record);
      };
      expect(['', 'BucketAlreadyOwnedByYou']).toContain(await failureOf(once, command));
      expect(again.slice(0, lost.length)).toEqual(lost);
      kept.push(lost);
    }
  } finally {
    keeper.keep = keep;
    once.destroy();
  }
  expect(kept.flat().length).toBe(4);
});

test('a bucket of another owner than expected is refused', async () => {
  const Body = 'x';
  const put = (ExpectedBucketOwner: string) =>
    new sdk.PutObjectCommand({ Bucket, Key: 'owned', Body, ExpectedBucketOwner });
  expect(await failure(put('somebody else'))).toBe('AccessDenied');
  const { Owner } = await client.send(new sdk.GetBucketAclCommand({ Bucket }));
  expect(Owner?.ID).toBe(s3.keyId);
  expect(await failure(put(Owner!.ID!))).toBe('');
  const copy = (ExpectedSourceBucketOwner: string) =>
    new sdk.CopyObjectCommand({
      Bucket,
      Key: 'copied',
      CopySource: `${Bucket}/owned`,
      ExpectedSourceBucketOwner,
    });
  expect(await failure(copy('somebody else'))).toBe('AccessDenied');
  expect(await failure(copy(s3.keyId))).toBe('');
});
