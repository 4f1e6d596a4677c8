import * as sdk from '@aws-sdk/client-s3';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { checkRow } from '../../../src/cli/verbs/s3/check-row.js';
import { MiB } from '../../../src/common/units.js';
import { type ObjectRow, ROW } from '../../../src/s3-lite/index.js';
import { S3Rig } from './rig.js';

/** What `rawstor s3 verify` takes for damaged, in a bucket that is in use: its rows are of a page that was read long before. */

let s3: S3Rig;
let client: sdk.S3Client;
const Bucket = 'verified';
beforeAll(async () => {
  s3 = await S3Rig.start();
  client = s3.client();
  await client.send(new sdk.CreateBucketCommand({ Bucket }));
}, 60_000);
afterAll(async () => {
  client.destroy();
  await s3.end();
});

const put = (Key: string, fill: number) =>
  client.send(new sdk.PutObjectCommand({ Bucket, Key, Body: Buffer.alloc(9 * MiB, fill) }));
const rowOf = (key: string) => s3.s3.store.catalog.get<ObjectRow>(ROW.key(Bucket, key));

function check(key: string, taken: ObjectRow) {
  const read = async (row: ObjectRow) => {
    for await (const _ of s3.s3.store.readWhole({ ...row, name: key }, null));
  };
  return checkRow(taken, () => rowOf(key), read);
}

async function gone({ extents }: ObjectRow): Promise<void> {
  const ref = extents[0]!.objectId;
  const there = () => s3.rig.cluster.mds.call('mds.getObj', { ref });
  await expect.poll(() => there().catch(({ code }) => code)).toBe('NOT_FOUND');
}

test('what was removed or replaced since is not damaged; what is there and is not what was written is', async () => {
  await put('removed', 1);
  const { value: removed } = (await rowOf('removed'))!;
  await client.send(new sdk.DeleteObjectCommand({ Bucket, Key: 'removed' }));
  await gone(removed);
  expect(await check('removed', removed)).toBeNull();

  await put('replaced', 1);
  const { value: replaced } = (await rowOf('replaced'))!;
  await put('replaced', 2);
  await gone(replaced);
  const now = (await rowOf('replaced'))!;
  expect(await check('replaced', replaced)).toMatchObject({ failure: null, row: { id: now.value.id } });

  await put('damaged', 3);
  const { value: damaged } = (await rowOf('damaged'))!;
  const other = { ...damaged, hash: now.value.hash ?? null };
  await s3.s3.store.catalog.transact({ puts: [{ key: ROW.key(Bucket, 'damaged'), value: other }] });
  expect(await check('damaged', other)).toMatchObject({ failure: { code: 'CHECKSUM' } });
}, 60_000);
