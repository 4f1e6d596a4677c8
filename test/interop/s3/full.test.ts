import { randomBytes } from 'node:crypto';
import * as sdk from '@aws-sdk/client-s3';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { KiB, MiB } from '../../../src/common/units.js';
import { failureOf, S3Rig } from './rig.js';

/** A cluster without room: what is removed has to be on record in a journal first. */

let s3: S3Rig;
let client: sdk.S3Client;
const Bucket = 'full';
beforeAll(async () => {
  s3 = await S3Rig.start({}, { capacityBytes: 80 * MiB, reserveBytes: 4 * MiB, heartbeatMs: 200 }, 2);
  client = s3.client(1);
  await client.send(new sdk.CreateBucketCommand({ Bucket }));
}, 60_000);
afterAll(async () => {
  client.destroy();
  await s3.end();
});

const put = (Key: string, bytes: number) =>
  failureOf(client, new sdk.PutObjectCommand({ Bucket, Key, Body: randomBytes(bytes) }));
const freeBytes = async () => {
  const { osts } = await s3.rig.cluster.mds.call('mds.listOsts', {});
  return osts.map(({ freeBytes }) => freeBytes);
};

async function fill(): Promise<void> {
  // As long as there is enough for a new object, then what fits the pack that is open, to the last block.
  for (const bytes of [4 * MiB, 64 * KiB, 4 * KiB])
    for (let i = 0; (await put(`${bytes}-${i}`, bytes)) === ''; i++);
}

test('a full cluster is emptied, also by a gateway that has no journal yet', async () => {
  expect(await put('own', 12 * MiB)).toBe('');
  await fill();
  // A pack that has met the end of the disk may be given up before the last block is taken.
  expect(Math.max(...(await freeBytes()))).toBeLessThan(8 * MiB);
  await s3.s3.close();
  await s3.startGateway();
  expect(await failureOf(client, new sdk.DeleteObjectCommand({ Bucket, Key: 'own' }))).toBe('');
  await expect
    .poll(async () => Math.min(...(await freeBytes())), { timeout: 10_000 })
    .toBeGreaterThan(10 * MiB);
  const { Contents = [] } = await client.send(new sdk.ListObjectsV2Command({ Bucket }));
  for (const { Key } of Contents)
    expect(await failureOf(client, new sdk.DeleteObjectCommand({ Bucket, Key }))).toBe('');
  // The pack that is open is its writer's.
  await s3.s3.close();
  await s3.startGateway();
  await s3.s3.store.collector.run(0);
  await expect
    .poll(async () => Math.min(...(await freeBytes())), { timeout: 10_000 })
    .toBeGreaterThan(70 * MiB);
  expect(await put('again', 12 * MiB)).toBe('');
}, 180_000);
