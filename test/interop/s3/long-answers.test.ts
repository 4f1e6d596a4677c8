import * as sdk from '@aws-sdk/client-s3';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { systemClock } from '../../../src/common/clock.js';
import { silentLogger } from '../../../src/common/log.js';
import { MiB } from '../../../src/common/units.js';
import { type ObjectRow, ROW, startS3 } from '../../../src/s3-lite/index.js';
import { raw } from './raw-request.js';
import { failureOf, S3Rig } from './rig.js';

/** Answers that take long, as content is copied for them, and when that has to be. */

let s3: S3Rig;
let client: sdk.S3Client;
const Bucket = 'long-images';
const PART = 5 * MiB;
let copies = 0;
let holding: Promise<void> | null = null;
beforeAll(async () => {
  s3 = await S3Rig.start({ blankMs: 50 });
  client = s3.client(1);
  await client.send(new sdk.CreateBucketCommand({ Bucket }));
  const { store } = s3.s3;
  const key = `bucket/${Bucket}`;
  const { value } = (await store.catalog.get<object>(key))!;
  await store.catalog.transact({ puts: [{ key, value: { ...value, image: true } }] });
  const copy = store.copy.bind(store);
  store.copy = async (...args) => {
    copies++;
    await holding;
    return copy(...args);
  };
}, 60_000);
afterEach(() => {
  copies = 0;
  holding = null;
});
afterAll(async () => {
  client.destroy();
  await s3.end();
});

async function begin(Key: string) {
  const { UploadId = '' } = await client.send(new sdk.CreateMultipartUploadCommand({ Bucket, Key }));
  return { Bucket, Key, UploadId };
}
type At = Awaited<ReturnType<typeof begin>>;

async function part(at: At, PartNumber: number, fill: number): Promise<sdk.CompletedPart> {
  const Body = Buffer.alloc(PART, fill);
  const { ETag } = await client.send(new sdk.UploadPartCommand({ ...at, PartNumber, Body }));
  return { PartNumber, ETag };
}
const complete = (at: At, Parts: sdk.CompletedPart[]) =>
  client.send(new sdk.CompleteMultipartUploadCommand({ ...at, MultipartUpload: { Parts } }));
const content = async ({ Key }: At) =>
  (await client.send(new sdk.GetObjectCommand({ Bucket, Key }))).Body!.transformToByteArray();

/** With a part that is not in its place: another one was told for it. */
async function scattered(Key: string) {
  const at = await begin(Key);
  await part(at, 1, 9);
  return { at, parts: [await part(at, 1, 1), await part(at, 2, 2)] };
}

const wanted = Buffer.concat([Buffer.alloc(PART, 1), Buffer.alloc(PART, 2)]);
const document = (parts: sdk.CompletedPart[]) =>
  `<CompleteMultipartUpload>${parts.map(({ PartNumber, ETag }) => `<Part><PartNumber>${PartNumber}</PartNumber><ETag>${ETag}</ETag></Part>`).join('')}</CompleteMultipartUpload>`;

test('a completion that copies says so meanwhile, and who asks again waits for the same copy', async () => {
  const { at, parts } = await scattered('joined');
  let goOn = () => {};
  holding = new Promise((resolve) => {
    goOn = resolve;
  });
  const path = `/${Bucket}/joined`;
  const asked = raw(s3, 'POST', path, { query: `uploadId=${at.UploadId}`, body: document(parts) });
  const others = [complete(at, parts), complete(at, parts)];
  setTimeout(goOn, 400);
  const { status, text } = await asked;
  expect(status).toBe(200);
  expect(text).toMatch(/^<\?xml [^>]*>\n {3,}<CompleteMultipartUploadResult /);
  const etags = (await Promise.all(others)).map(({ ETag }) => ETag);
  for (const etag of etags) expect(text).toContain(etag!.replaceAll('"', ''));
  expect(copies).toBe(1);
  expect(wanted.equals(await content(at))).toBe(true);
}, 60_000);

test('one whose upload is aborted stops, and says so in its body', async () => {
  const { at, parts } = await scattered('aborted');
  let goOn = () => {};
  holding = new Promise((resolve) => {
    goOn = resolve;
  });
  const asked = failureOf(
    client,
    new sdk.CompleteMultipartUploadCommand({ ...at, MultipartUpload: { Parts: parts } }),
  );
  const path = `/${Bucket}/aborted`;
  const told = raw(s3, 'POST', path, { query: `uploadId=${at.UploadId}`, body: document(parts) });
  await expect.poll(() => copies).toBe(1);
  await new Promise((resolve) => setTimeout(resolve, 150));
  await client.send(new sdk.AbortMultipartUploadCommand(at));
  goOn();
  expect(await told).toMatchObject({ status: 200, code: 'NoSuchUpload' });
  expect(await asked).toBe('NoSuchUpload');
  expect(await failureOf(client, new sdk.GetObjectCommand({ Bucket, Key: 'aborted' }))).toBe('NoSuchKey');
}, 60_000);

test('a part that failed and comes again lies in its place, and nothing is copied', async () => {
  const at = await begin('again');
  const first = await part(at, 1, 1);
  const Body = Buffer.alloc(PART, 7);
  const spoilt = { ...at, PartNumber: 2, Body, ContentMD5: 'AAAAAAAAAAAAAAAAAAAAAA==' };
  expect(await failureOf(client, new sdk.UploadPartCommand(spoilt))).toBe('BadDigest');
  await complete(at, [first, await part(at, 2, 2)]);
  expect(copies).toBe(0);
  expect(wanted.equals(await content(at))).toBe(true);
}, 60_000);

test('parts that are copied lie in their places, and nothing is copied twice', async () => {
  const CopySource = `${Bucket}/source`;
  await client.send(new sdk.PutObjectCommand({ Bucket, Key: 'source', Body: wanted }));
  const at = await begin('copied');
  const parts = [1, 2].map(async (PartNumber) => {
    const CopySourceRange = `bytes=${(PartNumber - 1) * PART}-${PartNumber * PART - 1}`;
    const copy = new sdk.UploadPartCopyCommand({ ...at, PartNumber, CopySource, CopySourceRange });
    const { CopyPartResult } = await client.send(copy);
    return { PartNumber, ETag: CopyPartResult!.ETag };
  });
  await complete(at, await Promise.all(parts));
  expect(copies).toBe(0);
  expect(wanted.equals(await content(at))).toBe(true);
}, 60_000);

test('an image whose parts came through another gateway is cut to its size, for volumes that begin with it', async () => {
  const { rig, keyId: accessKeyId, secret: secretAccessKey } = s3;
  const cluster = await rig.connect('other');
  const other = await startS3({
    cluster,
    io: rig.io,
    clock: systemClock,
    log: silentLogger,
    listen: [{ host: '127.0.0.1', port: 0 }],
    domain: 's3.test',
    region: 'us-east-1',
    layout: { replicas: 2, minReplicas: 1, stripeWidth: 1, failureDomain: 'ost', near: null },
  });
  const there = new sdk.S3Client({
    endpoint: `http://127.0.0.1:${other.ports[0]}`,
    region: 'us-east-1',
    credentials: { accessKeyId, secretAccessKey },
    forcePathStyle: true,
  });
  const at = await begin('elsewhere');
  const parts = [];
  for (const PartNumber of [1, 2]) {
    const Body = Buffer.alloc(PART, PartNumber);
    const { ETag } = await there.send(new sdk.UploadPartCommand({ ...at, PartNumber, Body }));
    parts.push({ PartNumber, ETag });
  }
  await complete(at, parts);
  expect(copies).toBe(0);
  const row = await s3.s3.store.catalog.get<ObjectRow>(ROW.key(Bucket, 'elsewhere'));
  const [first] = row!.value.extents;
  const { snapshots } = await rig.cluster.mds.call('mds.getObj', { ref: first!.objectId });
  const frozen = snapshots.find((one) => one.version === first!.version && one.name !== null);
  expect(frozen?.sizeBytes).toBe(2 * PART);
  expect(wanted.equals(await content(at))).toBe(true);
  there.destroy();
  await other.close();
  await cluster.close();
}, 60_000);
