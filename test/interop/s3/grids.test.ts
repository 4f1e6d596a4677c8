import * as sdk from '@aws-sdk/client-s3';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { systemClock } from '../../../src/common/clock.js';
import { MiB } from '../../../src/common/units.js';
import { type FoundUpload, Uploads } from '../../../src/s3-lite/uploads.js';
import { S3Rig } from './rig.js';

/** The objects that parts of uploads go to, where there are more uploads than may have one. */

let s3: S3Rig;
let client: sdk.S3Client;
const Bucket = 'grids';
const SIZE = 9 * MiB;
beforeAll(async () => {
  s3 = await S3Rig.start();
  client = s3.client();
  await client.send(new sdk.CreateBucketCommand({ Bucket }));
}, 60_000);
afterAll(async () => {
  client.destroy();
  await s3.end();
});

async function begin(key: string): Promise<FoundUpload> {
  const { UploadId = '' } = await client.send(new sdk.CreateMultipartUploadCommand({ Bucket, Key: key }));
  return new Uploads(s3.s3.store, systemClock).find(Bucket, key, UploadId);
}

/** @returns the object that it went to */
async function put(uploads: Uploads, upload: FoundUpload, number: number): Promise<string> {
  const { store } = s3.s3;
  const writer = await uploads.writer(upload, number, SIZE, null);
  await writer.write(Buffer.alloc(SIZE, number));
  const extents = await store.finish(writer);
  const id = `${upload.row.value.id}-${number}`;
  const etag = String(number).padStart(32, '0');
  const row = { id, upload: upload.row.key, extents, coding: null, sizeBytes: SIZE, etag, modifiedMs: 1 };
  await uploads.put(upload, number, { ...row, checksum: null, hash: writer.hash() });
  await writer.release();
  return extents[0]!.objectId;
}

test('uploads that nobody goes on with make room for others, and what they have stays', async () => {
  const uploads = new Uploads(s3.s3.store, systemClock, { open: 2, idleMs: 0 });
  const left = await Promise.all(['left-1', 'left-2', 'left-3'].map(begin));
  for (const upload of left) await put(uploads, upload, 1);
  const young = await begin('young');
  expect(await put(uploads, young, 1)).toBe(await put(uploads, young, 2));
  // It goes on after all, and is completed of two objects.
  await put(uploads, left[0]!, 2);
  const Parts = [1, 2].map((PartNumber) => ({ PartNumber, ETag: String(PartNumber).padStart(32, '0') }));
  const at = { Bucket, Key: 'left-1', UploadId: left[0]!.row.value.id };
  await client.send(new sdk.CompleteMultipartUploadCommand({ ...at, MultipartUpload: { Parts } }));
  const { Body } = await client.send(new sdk.GetObjectCommand({ Bucket, Key: 'left-1' }));
  const wanted = Buffer.concat([1, 2].map((number) => Buffer.alloc(SIZE, number)));
  expect(wanted.equals(await Body!.transformToByteArray())).toBe(true);
  await uploads.close();
}, 60_000);

test('one that is written to, or was not long ago, is left its own', async () => {
  const patient = new Uploads(s3.s3.store, systemClock, { open: 1, idleMs: 60_000 });
  const first = await begin('patient-1');
  const object = await put(patient, first, 1);
  await put(patient, await begin('patient-2'), 1);
  expect(await put(patient, first, 2)).toBe(object);
  await patient.close();
  const busy = new Uploads(s3.s3.store, systemClock, { open: 1, idleMs: 0 });
  const slow = await busy.writer(await begin('busy-1'), 1, SIZE, null);
  const other = await begin('busy-2');
  expect(await put(busy, other, 1)).not.toBe(await put(busy, other, 2));
  await slow.abort();
  await busy.close();
}, 60_000);
