import { createHash, randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  PutObjectCommand,
  type S3Client,
  UploadPartCommand,
  UploadPartCopyCommand,
} from '@aws-sdk/client-s3';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { KeyRing, newBucketEncryption, readSecret } from '../../../src/client/index.js';
import { MiB } from '../../../src/common/units.js';
import { type BucketRow, Buckets, type ObjectRow } from '../../../src/s3-lite/index.js';
import { S3Rig } from './rig.js';

/** Buckets whose content is compressed, encrypted, or both: clients see nothing of it, and disks nothing of the content. */

let s3: S3Rig;
let client: S3Client;
let keys: KeyRing;
beforeAll(async () => {
  s3 = await S3Rig.start();
  client = s3.client();
  const path = join(s3.files, 'key');
  writeFileSync(path, randomBytes(32));
  keys = new KeyRing([
    { volume: 'sealed', kind: 'key', path },
    { volume: 'both', kind: 'key', path },
    { volume: 'turned', kind: 'key', path },
  ]);
  const encryption = () => readSecret({ kind: 'key', path }).then(newBucketEncryption);
  await bucket('plain', {});
  await bucket('small', { compression: 'zstd' });
  await bucket('fast', { compression: 'lz4' });
  await bucket('sealed', { encryption: await encryption() });
  await bucket('both', { compression: 'zstd', encryption: await encryption() });
  await restart(keys);
}, 60_000);
afterAll(() => s3.end());

async function restart(with_: KeyRing): Promise<void> {
  await s3.s3.close();
  s3.keys = with_;
  await s3.startGateway();
}

async function bucket(name: string, settings: Partial<BucketRow>): Promise<void> {
  const buckets = new Buckets(s3.s3.store.catalog);
  await buckets.create(name, '', Date.now());
  await buckets.change(name, (row) => ({ ...row, ...settings }));
}

const WORDS = 'attack at dawn, over the hill. ';
const md5 = (bytes: Uint8Array) => `"${createHash('md5').update(bytes).digest('hex')}"`;

/** Words, with some noise so that no two places are the same. */
function wordy(bytes: number): Buffer {
  const content = Buffer.alloc(bytes, WORDS);
  for (let at = 0; at < bytes; at += 4096) randomBytes(Math.min(8, bytes - at)).copy(content, at);
  return content;
}

async function get(Bucket: string, Key: string, more: { Range?: string; PartNumber?: number } = {}) {
  const { Body } = await client.send(new GetObjectCommand({ Bucket, Key, ...more }));
  return Buffer.from(await Body!.transformToByteArray());
}

async function rowOf(name: string, key: string): Promise<ObjectRow> {
  return (await s3.s3.store.catalog.get<ObjectRow>(`key/${name}/${key}`))!.value;
}

function filesUnder(dir: string): string[] {
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

const storedBytes = async (name: string, key: string) =>
  (await rowOf(name, key)).extents.reduce((sum, { length }) => sum + length, 0);

test.each(['small', 'fast', 'sealed', 'both'])(
  '%s: what is put is got, whole and in parts, by another gateway too',
  async (name) => {
    for (const length of [0, 1, 4096, 300_000, 9 * MiB + 11]) {
      const content = wordy(length);
      const key = `k${length}`;
      const { ETag } = await client.send(new PutObjectCommand({ Bucket: name, Key: key, Body: content }));
      expect(ETag).toBe(md5(content));
      expect((await get(name, key)).equals(content)).toBe(true);
      if (length < 2) continue;
      const [from, to] = [Math.floor(length / 3), Math.floor(length / 2)];
      const part = await get(name, key, { Range: `bytes=${from}-${to - 1}` });
      expect(part.equals(content.subarray(from, to))).toBe(true);
      const { ContentLength } = await client.send(new HeadObjectCommand({ Bucket: name, Key: key }));
      expect(ContentLength).toBe(length);
      const stored = await storedBytes(name, key);
      if (name === 'sealed') expect(stored).toBeGreaterThan(length);
      else expect(stored).toBeLessThan(length / 4);
    }
    await restart(keys);
    for (const length of [4096, 9 * MiB + 11]) expect((await get(name, `k${length}`)).length).toBe(length);
  },
);

test('parts become one content, whichever order they come in, and are read by their numbers', async () => {
  const name = 'both';
  const at = { Bucket: name, Key: 'parts' };
  const { UploadId } = await client.send(new CreateMultipartUploadCommand(at));
  const parts = [wordy(6 * MiB), randomBytes(6 * MiB), wordy(6 * MiB), wordy(12_345)];
  const etags: string[] = [];
  for (const i of [1, 0, 3]) {
    const one = { ...at, UploadId, PartNumber: i + 1, Body: parts[i]! };
    etags[i] = (await client.send(new UploadPartCommand(one))).ETag!;
  }
  // The third is a part of an object of another bucket, which is stored otherwise.
  const source = Buffer.concat([wordy(77_777), parts[2]!, wordy(99)]);
  await client.send(new PutObjectCommand({ Bucket: 'sealed', Key: 'source', Body: source }));
  const range = `bytes=77777-${77_777 + 6 * MiB - 1}`;
  const copy = { ...at, UploadId, PartNumber: 3, CopySource: 'sealed/source', CopySourceRange: range };
  etags[2] = (await client.send(new UploadPartCopyCommand(copy))).CopyPartResult!.ETag!;
  const Parts = etags.map((ETag, i) => ({ ETag, PartNumber: i + 1 }));
  await client.send(new CompleteMultipartUploadCommand({ ...at, UploadId, MultipartUpload: { Parts } }));
  const whole = Buffer.concat(parts);
  expect((await get(name, 'parts')).equals(whole)).toBe(true);
  for (const [i, part] of parts.entries())
    expect((await get(name, 'parts', { PartNumber: i + 1 })).equals(part)).toBe(true);
  const across = await get(name, 'parts', { Range: `bytes=${6 * MiB - 5}-${12 * MiB + 5}` });
  expect(across.equals(whole.subarray(6 * MiB - 5, 12 * MiB + 6))).toBe(true);
  expect((await rowOf(name, 'parts')).coding?.streams.length).toBeGreaterThan(1);
  // What is kept is all that is needed, and all that is needed is kept.
  await s3.s3.store.collector.run(0);
  await restart(keys);
  expect((await get(name, 'parts')).equals(whole)).toBe(true);
});

test('copies are stored as their own bucket says', async () => {
  const content = wordy(700_000);
  await client.send(new PutObjectCommand({ Bucket: 'plain', Key: 'c', Body: content }));
  let from = 'plain';
  for (const name of ['both', 'fast', 'sealed', 'small', 'plain']) {
    const { CopyObjectResult } = await client.send(
      new CopyObjectCommand({
        Bucket: name,
        Key: 'copy',
        CopySource: `${from}/${from === 'plain' ? 'c' : 'copy'}`,
      }),
    );
    expect(CopyObjectResult!.ETag).toBe(md5(content));
    expect((await get(name, 'copy')).equals(content)).toBe(true);
    const { coding } = await rowOf(name, 'copy');
    expect([coding != null, coding?.salts != null]).toEqual([
      name !== 'plain',
      name === 'sealed' || name === 'both',
    ]);
    from = name;
  }
});

test('nothing of what is encrypted is on a disk, nor its key; without the key nothing is told or taken', async () => {
  const secret = 'the password is swordfish, and a long one';
  const content = Buffer.alloc(9 * MiB, secret);
  for (const name of ['sealed', 'both', 'plain'])
    await client.send(new PutObjectCommand({ Bucket: name, Key: 'secret', Body: content }));
  await restart(keys);
  const objects = async (name: string) =>
    new Set((await rowOf(name, 'secret')).extents.map(({ objectId }) => objectId));
  const plain = await objects('plain');
  let [seen, inPlain] = [0, 0];
  for (const path of filesUnder(s3.rig.dir)) {
    if (statSync(path).size === 0) continue;
    const has = readFileSync(path).includes(secret.slice(0, 30));
    if ([...plain].some((id) => path.includes(id))) inPlain += Number(has);
    else seen += Number(has);
  }
  // The one that is not encrypted is found, so this looks in the right place.
  expect([seen, inPlain]).toEqual([0, 2]);
  await restart(new KeyRing([]));
  const denied = { name: 'AccessDenied', $metadata: { httpStatusCode: 403 } };
  await expect(get('sealed', 'secret')).rejects.toMatchObject(denied);
  const put = new PutObjectCommand({ Bucket: 'both', Key: 'no', Body: content });
  await expect(client.send(put)).rejects.toMatchObject(denied);
  const begin = new CreateMultipartUploadCommand({ Bucket: 'both', Key: 'no' });
  await expect(client.send(begin)).rejects.toMatchObject(denied);
  const copy = new CopyObjectCommand({ Bucket: 'plain', Key: 'no', CopySource: 'both/secret' });
  await expect(client.send(copy)).rejects.toMatchObject(denied);
  expect((await get('small', 'k4096')).length).toBe(4096);
  const other = join(s3.files, 'other');
  writeFileSync(other, randomBytes(32));
  await restart(new KeyRing([{ volume: null, kind: 'key', path: other }]));
  await expect(get('sealed', 'secret')).rejects.toMatchObject(denied);
  await restart(keys);
  expect((await get('sealed', 'secret')).equals(content)).toBe(true);
});

test('what is under way while a bucket becomes encrypted, or another one, is not stored as it was before', async () => {
  const { store } = s3.s3;
  const path = join(s3.files, 'key');
  const buckets = new Buckets(store.catalog);
  const at = { Bucket: 'turned', Key: 'k' };
  const remade = async (settings: Partial<BucketRow>) => {
    await buckets.remove(at.Bucket).catch(() => {});
    await bucket(at.Bucket, settings);
  };
  const encryption = () => readSecret({ kind: 'key', path }).then(newBucketEncryption);
  /** Between what a request writes and its commit. */
  const meanwhile = (change: () => Promise<void>) => {
    const { finish } = store;
    store.finish = async (writer) => {
      store.finish = finish;
      await change();
      return finish.call(store, writer);
    };
  };
  await client.send(new PutObjectCommand({ Bucket: 'plain', Key: 'source', Body: 'content' }));
  const commands = [
    new PutObjectCommand({ ...at, Body: 'content' }),
    new CopyObjectCommand({ ...at, CopySource: 'plain/source' }),
  ];
  for (const command of commands) {
    for (const first of [{}, { encryption: await encryption() }]) {
      await remade(first);
      const next = await encryption();
      meanwhile(() =>
        first.encryption === undefined
          ? buckets.change(at.Bucket, (row) => ({ ...row, encryption: next }))
          : remade({ encryption: next }),
      );
      // Sent again by the client, as the first is told to slow down.
      await client.send(command as PutObjectCommand);
      expect((await get(at.Bucket, at.Key)).toString()).toBe('content');
      expect((await rowOf(at.Bucket, at.Key)).coding?.salts).toBeTruthy();
      await client.send(new DeleteObjectCommand(at));
    }
  }
});

test('contents that change places are not passed on, not even a part of them', async () => {
  const { catalog } = s3.s3.store;
  for (const key of ['a', 'b'])
    await client.send(new PutObjectCommand({ Bucket: 'both', Key: key, Body: wordy(5000) }));
  const [a, b] = [await rowOf('both', 'a'), await rowOf('both', 'b')];
  // As an OST would answer that has swapped what it stores: under the same key, of the same length.
  const coding = { ...b.coding!, salts: a.coding!.salts };
  await catalog.transact({ puts: [{ key: 'key/both/a', value: { ...a, extents: b.extents, coding } }] });
  await expect(get('both', 'a')).rejects.toThrow();
  await expect(get('both', 'a', { Range: 'bytes=100-199' })).rejects.toThrow();
  expect((await get('both', 'b')).length).toBe(5000);
});
