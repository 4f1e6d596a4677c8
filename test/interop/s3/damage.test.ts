import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CreateBucketCommand, GetObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { MiB } from '../../../src/common/units.js';
import { flip, scrub } from '../client/damaged-volume.js';
import { until } from '../client/rig.js';
import { S3Rig } from './rig.js';

/** Bits that change in chunk files of real OSTs, under content of S3. */

let s3: S3Rig;
beforeEach(async () => {
  s3 = await S3Rig.start();
}, 60_000);
afterEach(() => s3.end());

test.each([
  ['in an object of its own', 9 * MiB],
  ['in a pack', 300_000],
])('%s: reads are right, and what is stored is again', async (_name, size) => {
  const client = s3.client();
  const content = randomBytes(size);
  await client.send(new CreateBucketCommand({ Bucket: 'damaged' }));
  await client.send(new PutObjectCommand({ Bucket: 'damaged', Key: 'k', Body: content }));
  const row = await s3.s3.store.catalog.get<{ extents: { objectId: string; offset: number }[] }>(
    'key/damaged/k',
  );
  const { objectId, offset } = row!.value.extents[0]!;
  // The gateway that wrote it is gone: a pack is frozen then.
  await s3.s3.close();
  await s3.startGateway();
  const { members } = await s3.rig.cluster.mds.call('mds.getObj', { ref: objectId });
  const peers = await Promise.all(members.map(({ ostId }) => s3.rig.watched.get(ostId)!.connect('', [], 0)));
  const read = async () => {
    const { Body } = await client.send(new GetObjectCommand({ Bucket: 'damaged', Key: 'k' }));
    return Buffer.from(await Body!.transformToByteArray()).equals(content);
  };
  expect(await read()).toBe(true);
  for (const peer of peers) await until(async () => (await scrub(peer)).unsealedRegions === 0);
  const at = offset + 70_001;
  const file = join(s3.rig.chunksOf(members[0]!.ostId, objectId), '0.1');
  flip(file, at);
  const stored = () => readFileSync(file)[at] === content[at - offset];
  expect(stored()).toBe(false);
  // Replicas are read by turns: some of these meet it.
  for (let i = 0; i < 4; i++) expect(await read()).toBe(true);
  await until(stored);
  await until(async () => (await peers[0]!.call('ost.damage', { objectId })).blocks.length === 0);
  expect(await read()).toBe(true);
});

test('content that is not what was written is not passed on as whole', async () => {
  const client = s3.client();
  await client.send(new CreateBucketCommand({ Bucket: 'damaged' }));
  const { catalog } = s3.s3.store;
  const put = (Key: string, Body: Buffer) =>
    client.send(new PutObjectCommand({ Bucket: 'damaged', Key, Body }));
  await put('good', randomBytes(9 * MiB));
  await put('bad', randomBytes(5000));
  await put('other', randomBytes(5000));
  const [bad, other] = [
    await catalog.get<object>('key/damaged/bad'),
    await catalog.get<object>('key/damaged/other'),
  ];
  // As if it had been written to another place: sectors with sums that fit, of something else.
  const { extents } = other!.value as { extents: unknown };
  await catalog.transact({ puts: [{ key: bad!.key, value: { ...bad!.value, extents } }] });
  const read = async (Key: string) => {
    const { Body } = await client.send(new GetObjectCommand({ Bucket: 'damaged', Key }));
    return (await Body!.transformToByteArray()).length;
  };
  await expect(read('bad')).rejects.toThrow();
  expect([await read('good'), await read('other')]).toEqual([9 * MiB, 5000]);
});
