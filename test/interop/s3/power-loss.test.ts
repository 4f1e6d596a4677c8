import { randomBytes } from 'node:crypto';
import { CreateBucketCommand, GetObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { ImmutableStore, Volume } from '../../../src/client/index.js';
import { loseMds } from '../client/lost-mds.js';
import { states, until } from '../client/rig.js';
import { S3Rig } from './rig.js';

/** Power goes on all machines before anything of the last seconds was sealed: what was answered is there. */

let s3: S3Rig;
beforeEach(async () => {
  s3 = await S3Rig.start();
}, 60_000);
afterEach(() => s3.end());

const LIMIT_MS = 120_000;
const place = { Bucket: 'bucket', Key: 'key' };
const content = randomBytes(100_000);

interface Stepping {
  step(): Promise<void>;
  readonly steps: { settle(): Promise<void> };
}

/** The objects that a gateway writes. */
function written(store: ImmutableStore): Volume[] {
  return [...(store as unknown as { open: { written: Map<string, Volume> } }).open.written.values()];
}

/** @param gatewayToo its process is gone as well, so nothing is sealed by it */
async function cutPower(
  gatewayToo: boolean,
  betweenTimes: () => Promise<void> = async () => {},
): Promise<void> {
  const { rig } = s3;
  if (gatewayToo) for (const volume of written(s3.s3.store)) rig.forget(volume);
  await rig.stopMds();
  for (const index of [0, 1, 2]) await rig.stopOst(index);
  // They have stopped in order here: in another directory that counts for nothing.
  rig.place = { mount: 'after the power cut', directory: 'another' };
  await rig.startMds(1000);
  for (const index of [0, 1, 2]) await rig.startOst(index);
  await betweenTimes();
}

async function put(): Promise<void> {
  const client = s3.client();
  await client.send(new CreateBucketCommand({ Bucket: 'bucket' }));
  await client.send(new PutObjectCommand({ ...place, Body: content }));
  client.destroy();
}

/** As a client that asks again gets it. */
async function expectThere(): Promise<void> {
  const client = s3.client();
  let got: Buffer | null = null;
  await until(async () => {
    const { Body } = await client.send(new GetObjectCommand(place)).catch(() => ({ Body: undefined }));
    got = Body === undefined ? null : Buffer.from(await Body.transformToByteArray());
    return got !== null;
  }, 30_000);
  expect(content.equals(got!)).toBe(true);
  client.destroy();
}

const losses = async () => {
  const { objects } = await s3.rig.cluster.mds.call('mds.list', { after: 's3.', limit: 100 });
  return objects.filter(({ lossWallMs }) => lossWallMs !== null).map(({ name }) => name);
};

test(
  'objects are read again, and the catalog gets its checkpoint',
  async () => {
    await put();
    await cutPower(true);
    await expectThere();
    const made = await s3.s3.store.keeper.checkpoint();
    expect(made.released.length).toBeGreaterThan(0);
    expect(await losses()).toEqual([]);
  },
  LIMIT_MS,
);

test.runIf(process.env.RAWSTOR_TEST_LONG === '1')(
  'with the MDS lost as well the catalog comes back from journals that nobody had sealed (long)',
  async () => {
    await put();
    await cutPower(true, async () => {
      await loseMds(s3.rig);
    });
    await until(async () => (await s3.s3.store.keeper.state()).state === 'unconfirmed', 60_000);
    await expectThere();
  },
  LIMIT_MS,
);

test(
  'of contents that share an object each is refused whose writes were lost, not only the first that asks',
  async () => {
    const { store } = s3.s3;
    const [one, two] = [await store.writer(5000), await store.writer(5000)];
    expect(two.place!.object).toBe(one.place!.object);
    await one.write(randomBytes(5000));
    await two.write(randomBytes(5000));
    // Both have gone out; neither is flushed.
    for (const writer of [one, two] as unknown as Stepping[]) {
      await writer.step();
      await writer.steps.settle();
    }
    await cutPower(false);
    const { volume } = one.place!.object;
    await until(() => states(volume).every((state) => state === 'in-sync'), 30_000);
    await expect(store.finish(one)).rejects.toMatchObject({ code: 'LOSS' });
    await expect(store.finish(two)).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    await one.release();
    await two.release();
    const next = await store.writer(5000);
    expect(next.place!.object).not.toBe(one.place!.object);
    await next.abort();
  },
  LIMIT_MS,
);
