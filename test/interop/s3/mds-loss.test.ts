import { createHash, randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  CompleteMultipartUploadCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  DeleteBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  ListBucketsCommand,
  ListObjectsV2Command,
  ListPartsCommand,
  PutObjectCommand,
  type S3Client,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { MiB } from '../../../src/common/units.js';
import { parseDump } from '../../../src/mds/index.js';
import { dumpText } from '../../unit/mds/dump-text.js';
import { type LoseOptions, loseMds } from '../client/lost-mds.js';
import { until } from '../client/rig.js';
import { S3Rig } from './rig.js';

/** The MDS is lost with all it had: what S3 keeps comes back from the OSTs. */

let s3: S3Rig;
let client: S3Client;
beforeEach(async () => {
  s3 = await S3Rig.start();
  client = s3.client();
}, 60_000);
afterEach(() => s3.end());

const LIMIT_MS = 180_000;
const sha = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const aws = (...args: string[]) => s3.run('aws', ['--endpoint-url', s3.url, ...args]);

/** What must be there, by `BUCKET/KEY`. */
class Expected {
  readonly files: Map<string, Buffer>;

  constructor(files = new Map<string, Buffer>()) {
    this.files = files;
  }

  async put(name: string, size: number): Promise<void> {
    const content = randomBytes(size);
    if (size > 8 * MiB) {
      const path = join(s3.files, 'up');
      writeFileSync(path, content);
      await aws('s3', 'cp', '--only-show-errors', path, `s3://${name}`);
    } else await client.send(new PutObjectCommand({ ...place(name), Body: content }));
    this.files.set(name, content);
  }

  async remove(name: string): Promise<void> {
    await client.send(new DeleteObjectCommand(place(name)));
    this.files.delete(name);
  }

  /** Each byte for byte, and nothing else in the buckets. */
  async check(): Promise<void> {
    const listed: string[] = [];
    const { Buckets = [] } = await client.send(new ListBucketsCommand({}));
    for (const { Name: Bucket = '' } of Buckets) {
      const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket }));
      for (const { Key } of Contents) listed.push(`${Bucket}/${Key}`);
    }
    expect(listed.sort()).toEqual([...this.files.keys()].sort());
    for (const [name, content] of this.files) {
      const { Body } = await client.send(new GetObjectCommand(place(name)));
      expect(`${name} ${sha(await Body!.transformToByteArray())}`).toBe(`${name} ${sha(content)}`);
    }
  }
}

const place = (name: string) => {
  const [Bucket = '', ...rest] = name.split('/');
  return { Bucket, Key: rest.join('/') };
};

async function fill(): Promise<Expected> {
  const all = new Expected();
  for (const Bucket of ['one', 'two', 'three']) await client.send(new CreateBucketCommand({ Bucket }));
  await client.send(new DeleteBucketCommand({ Bucket: 'three' }));
  for (const name of ['a', 'b/c', 'b/d']) await all.put(`one/${name}`, 5000);
  await all.put('one/large', 20 * MiB + 9);
  await all.put('two/image', 9 * MiB);
  await all.put('one/a', 7000);
  await all.put('two/gone', 3000);
  await all.remove('two/gone');
  await all.put('two/again', 10);
  await all.remove('two/again');
  await all.put('two/again', 20);
  return all;
}

const state = async () => (await s3.s3.store.keeper.state()).state;
const objects = async () => {
  const { objects } = await s3.rig.cluster.mds.call('mds.list', { after: 's3.', limit: 1000 });
  return objects.map(({ name }) => name.split('.')[1]!);
};
const lose = async (options: LoseOptions = {}) => {
  await loseMds(s3.rig, options);
  // The gateway has seen nothing of it but an MDS that was away.
  await until(async () => (await state()) === 'unconfirmed', 60_000);
};

test(
  'buckets, keys, access keys and uploads are there again, what was removed is not; nothing is collected before that is confirmed',
  async () => {
    const all = await fill();
    const { UploadId } = await client.send(new CreateMultipartUploadCommand(place('two/parts')));
    const part = { ...place('two/parts'), UploadId };
    const Body = randomBytes(6 * MiB);
    await client.send(new UploadPartCommand({ ...part, PartNumber: 1, Body }));
    // Never on record: what an upload that was cut short leaves.
    const cut = await s3.s3.store.writer(9 * MiB);
    await cut.write(randomBytes(MiB));
    await cut.abort();
    const before = await objects();
    await lose();
    await all.check();
    expect(await aws('s3', 'ls')).toMatch(/ one\n.* two$/);
    expect(await s3.s3.store.collector.run(0)).toEqual({ removed: 0, moved: 0 });
    // Not at once: its writer of before may still be there, as far as the new MDS knows.
    await until(async () => (await s3.s3.store.collector.unnamed()).objects > 0, 60_000);
    expect(await s3.s3.store.collector.run(0)).toEqual({ removed: 0, moved: 0 });
    expect((await objects()).filter((kind) => kind === 'object')).toHaveLength(
      before.filter((kind) => kind === 'object').length,
    );
    await s3.rig.cluster.mds.call('mds.catalogConfirm', {});
    await until(async () => {
      await s3.s3.store.collector.run(0);
      return (await s3.s3.store.collector.unnamed()).objects === 0;
    });
    await all.put('two/new', 4000);
    await all.remove('one/a');
    const { Parts = [] } = await client.send(new ListPartsCommand(part));
    const parts = Parts.map(({ ETag, PartNumber }) => ({ ETag, PartNumber }));
    await client.send(new CompleteMultipartUploadCommand({ ...part, MultipartUpload: { Parts: parts } }));
    all.files.set('two/parts', Body);
    await all.check();
    // And once more, from what the recovery itself left, and what came since.
    await lose();
    await all.check();
  },
  LIMIT_MS,
);

test(
  'a checkpoint and what was journalled after it; the journals before it are gone',
  async () => {
    const all = await fill();
    const made = await s3.s3.store.keeper.checkpoint();
    expect(made.released.length).toBeGreaterThan(0);
    await until(async () => {
      const kinds = await objects();
      return kinds.filter((kind) => kind === 'journal').length === 0 && kinds.includes('checkpoint');
    });
    await all.remove('one/b/c');
    await all.put('one/b/d', 100);
    await all.put('one/e', 200);
    await lose();
    await all.check();
  },
  LIMIT_MS,
);

test(
  'an old dump brings back nothing that was removed since; without journals, what it has',
  async () => {
    const all = await fill();
    const { lines } = await s3.rig.cluster.mds.call('mds.dump', { after: '' });
    const { clusterId } = await s3.rig.cluster.mds.call('mds.stat', {});
    const dump = parseDump(Buffer.from(dumpText(clusterId, lines, 0)), 'dump');
    const then = new Expected(new Map(all.files));
    await all.remove('one/b/c');
    await all.put('one/b/d', 300);
    await lose({ dump });
    await all.check();
    // Journals and checkpoints are lost as well, and so is what came after the dump.
    await lose({ dump, without: /journal|checkpoint/ });
    await client.send(new GetObjectCommand(place('one/b/c')));
    await then.check();
  },
  LIMIT_MS,
);

test('what a journal does not take is not answered, and a frozen one is left for another', async () => {
  await client.send(new CreateBucketCommand({ Bucket: 'one' }));
  const { cluster } = s3.rig;
  const list = async () => {
    const { objects } = await cluster.mds.call('mds.list', { after: 's3.journal', limit: 100 });
    return objects.filter(({ name }) => name.startsWith('s3.journal.'));
  };
  const [first] = await list();
  // As a recovery does it, while its writer lives.
  await cluster.changeVolume(first!.id, { kind: 'snapshot', name: 'frozen' }, { timeoutMs: 10_000 });
  await client.send(new CreateBucketCommand({ Bucket: 'two' }));
  const after = await list();
  expect(after).toHaveLength(2);
  await lose();
  const { Buckets = [] } = await client.send(new ListBucketsCommand({}));
  expect(Buckets.map(({ Name }) => Name)).toEqual(['one', 'two']);
}, 60_000);

test('what a journal says that was missing at a first recovery comes back with it at the next', async () => {
  const all = new Expected();
  await client.send(new CreateBucketCommand({ Bucket: 'one' }));
  await all.put('one/changed', 100);
  const { keeper } = s3.s3.store;
  await keeper.checkpoint();
  const first = new Expected(new Map(all.files));
  await all.put('one/missing', 200);
  await all.put('one/changed', 300);
  const { objects: known } = await s3.rig.cluster.mds.call('mds.list', { after: 's3.journal', limit: 100 });
  const names = known.map(({ name }) => name).filter((name) => name.startsWith('s3.journal.'));
  await lose({ without: new RegExp(names.join('|').replaceAll('.', '\\.')) });
  await first.check();
  await expect(keeper.checkpoint()).rejects.toMatchObject({ code: 'BUSY' });
  await all.put('one/new', 50);
  // Taken now, a dump says nothing against what comes back.
  const { lines } = await s3.rig.cluster.mds.call('mds.dump', { after: '' });
  const { clusterId } = await s3.rig.cluster.mds.call('mds.stat', {});
  const dump = parseDump(Buffer.from(dumpText(clusterId, lines, 0)), 'dump');
  await lose({ dump });
  await all.check();
}, 180_000);
