import * as sdk from '@aws-sdk/client-s3';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { failureOf, S3Rig } from './rig.js';

/** Many who change one key at once: the last one wins, and all are answered. */

let s3: S3Rig;
let client: sdk.S3Client;
const Bucket = 'at-once';
beforeAll(async () => {
  s3 = await S3Rig.start();
  client = s3.client(1);
  await client.send(new sdk.CreateBucketCommand({ Bucket }));
}, 60_000);
afterAll(async () => {
  client.destroy();
  await s3.end();
});

const MANY = 40;
const times = <T>(make: (i: number) => T) => Array.from({ length: MANY }, (_, i) => make(i));

test('PUTs, and PUTs and DELETEs, of one key at once', async () => {
  const put = (i: number) => new sdk.PutObjectCommand({ Bucket, Key: 'latest', Body: String(i) });
  const remove = () => new sdk.DeleteObjectCommand({ Bucket, Key: 'latest' });
  expect(await Promise.all(times((i) => failureOf(client, put(i))))).toEqual(times(() => ''));
  const mixed = times((i) => failureOf(client, i % 3 === 0 ? remove() : put(i)));
  expect(await Promise.all(mixed)).toEqual(times(() => ''));
  expect(await failureOf(client, put(1000))).toBe('');
  const { Body } = await client.send(new sdk.GetObjectCommand({ Bucket, Key: 'latest' }));
  expect(await Body!.transformToString()).toBe('1000');
}, 60_000);

test('of many that may only put what is not there, one does', async () => {
  const put = (i: number) =>
    new sdk.PutObjectCommand({ Bucket, Key: 'once', Body: String(i), IfNoneMatch: '*' });
  const answers = await Promise.all(times((i) => failureOf(client, put(i))));
  expect(answers.filter((one) => one === '')).toHaveLength(1);
  expect(answers.filter((one) => one === 'PreconditionFailed')).toHaveLength(MANY - 1);
}, 60_000);
