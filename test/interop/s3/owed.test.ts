import {
  CreateBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  ListBucketsCommand,
  PutObjectCommand,
  type S3Client,
} from '@aws-sdk/client-s3';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Extent, ImmutableStore } from '../../../src/client/index.js';
import { systemClock } from '../../../src/common/clock.js';
import { RawstorError } from '../../../src/common/errors.js';
import { silentLogger } from '../../../src/common/log.js';
import { MiB } from '../../../src/common/units.js';
import { type ObjectRow, ROW } from '../../../src/s3-lite/index.js';
import { loseMds } from '../client/lost-mds.js';
import { until } from '../client/rig.js';
import { failureOf, S3Rig } from './rig.js';

/** Changes that stand at the MDS, that no journal has as their gateway died or its journal failed: what others do by them, and the loss of the MDS. */

let s3: S3Rig;
let client: S3Client;
let once: S3Client;
const Bucket = 'owed';
beforeEach(async () => {
  s3 = await S3Rig.start();
  client = s3.client();
  once = s3.client(1);
  await client.send(new CreateBucketCommand({ Bucket }));
}, 60_000);
afterEach(async () => {
  for (const one of [client, once]) one.destroy();
  await s3.end();
});

const LIMIT_MS = 120_000;
const whole = (value: number) => Buffer.alloc(9 * MiB, value);
const put = (Key: string, Body: Buffer) => new PutObjectCommand({ Bucket, Key, Body });
/** The first byte of each, '' for what is not there. */
const found = async (...keys: string[]) => {
  const all: string[] = [];
  for (const Key of keys) {
    try {
      const { Body } = await client.send(new GetObjectCommand({ Bucket, Key }));
      const bytes = await Body!.transformToByteArray();
      all.push(`${bytes[0]} ${bytes.length}`);
    } catch (error) {
      all.push((error as Error).name === 'NoSuchKey' ? '' : (error as Error).name);
    }
  }
  return all;
};

/** As if it died between the commit at the MDS and its journal. */
async function unkept(work: () => Promise<void>): Promise<void> {
  const { keeper } = s3.s3.store;
  const { keep } = keeper;
  keeper.keep = () => Promise.reject(new RawstorError('UNAVAILABLE', 'no journal takes it'));
  await work().finally(() => {
    keeper.keep = keep;
  });
}

/** Work of another gateway. */
async function elsewhere<T>(work: (store: ImmutableStore) => Promise<T>): Promise<T> {
  const cluster = await s3.rig.connect('other');
  const layout = { replicas: 2, minReplicas: 1, stripeWidth: 1, failureDomain: 'ost', near: null };
  const env = { io: s3.rig.io, clock: systemClock, log: silentLogger };
  const store = new ImmutableStore({ cluster, ...env, layout });
  return work(store).finally(async () => {
    await store.close();
    await cluster.close();
  });
}

const lose = async () => {
  await loseMds(s3.rig);
  await until(async () => (await s3.s3.store.keeper.state()).state === 'unconfirmed', 60_000);
};
/** Nothing is read through what was open. */
const startAgain = async () => {
  await s3.s3.close();
  await s3.startGateway();
};
const owed = async () => (await s3.s3.store.catalog.range('owed/', 'owed0', 1000)).rows.length;

test(
  'what a dead gateway replaced or removed is not let go before a journal says that it did',
  async () => {
    for (const Key of ['replaced', 'removed']) await client.send(put(Key, whole(1)));
    await unkept(async () => {
      expect(await failureOf(once, put('replaced', whole(2)))).toBe('ServiceUnavailable');
      expect(await failureOf(once, new DeleteObjectCommand({ Bucket, Key: 'removed' }))).toBe(
        'ServiceUnavailable',
      );
      expect((await elsewhere((store) => store.collector.run(0))).removed).toBe(2);
      await lose();
    });
    await startAgain();
    expect(await found('replaced', 'removed')).toEqual([`2 ${9 * MiB}`, '']);
  },
  LIMIT_MS,
);

test(
  'what was moved out of a pack is not removed there before a journal says so',
  async () => {
    await client.send(put('lives', Buffer.alloc(5000, 7)));
    await startAgain();
    const { catalog, collector } = s3.s3.store;
    const at = async () => (await catalog.get<ObjectRow>(ROW.key(Bucket, 'lives')))!.value.extents[0]!;
    const before: Extent = await at();
    await unkept(async () => {
      expect(await collector.run(0)).toMatchObject({ moved: 0 });
      expect((await at()).objectId).not.toBe(before.objectId);
      expect((await elsewhere((store) => store.collector.run(0))).removed).toBe(1);
      await lose();
    });
    await startAgain();
    expect(await found('lives')).toEqual(['7 5000']);
  },
  LIMIT_MS,
);

test(
  'what was put into a bucket of a dead gateway is there with its bucket',
  async () => {
    await unkept(async () => {
      expect(await failureOf(once, new CreateBucketCommand({ Bucket: 'young' }))).toBe('ServiceUnavailable');
    });
    await client.send(new PutObjectCommand({ Bucket: 'young', Key: 'x', Body: 'x' }));
    await lose();
    const { Buckets = [] } = await client.send(new ListBucketsCommand({}));
    expect(Buckets.map(({ Name }) => Name)).toEqual([Bucket, 'young']);
  },
  LIMIT_MS,
);

test(
  'what a journal did not take is given to the next, and nothing is owed by who has ended',
  async () => {
    await unkept(async () => {
      await failureOf(once, put('late', Buffer.alloc(10, 3)));
      expect(s3.s3.store.keeper.owed.hasUnkept).toBe(true);
      await expect(s3.s3.store.keeper.owed.settle()).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    });
    // By the look of the gateway itself.
    await until(() => !s3.s3.store.keeper.owed.hasUnkept, 30_000);
    await client.send(put('last', Buffer.alloc(10, 4)));
    await startAgain();
    await until(async () => (await owed()) === 0, 30_000);
    await lose();
    expect(await found('late', 'last')).toEqual(['3 10', '4 10']);
  },
  LIMIT_MS,
);
