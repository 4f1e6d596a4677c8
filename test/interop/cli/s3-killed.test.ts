import { createHash } from 'node:crypto';
import { readdirSync, statSync } from 'node:fs';
import { type ClientRequest, request } from 'node:http';
import { join } from 'node:path';
import {
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  ListPartsCommand,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { Cluster } from '../../../src/client/index.js';
import { systemClock } from '../../../src/common/clock.js';
import { silentLogger } from '../../../src/common/log.js';
import { createIo } from '../../../src/io/index.js';
import { until } from './programs.js';
import { done, imageBytes, Servers } from './servers.js';

/** Real servers that are killed while content comes: it is there whole or not at all, and what it left goes. */

const MiB = 1024 * 1024;
let servers: Servers;
beforeEach(async () => {
  servers = await Servers.start(3);
});
afterEach(() => servers.remove());

/** A PUT that stops in the middle, and goes on when it is told to. */
class SlowPut {
  readonly answer: Promise<number>;
  private readonly http: ClientRequest;
  private readonly content: Buffer;
  private readonly half: number;

  constructor(url: string, content: Buffer) {
    this.content = content;
    this.half = content.length / 2;
    this.http = request(url, { method: 'PUT', headers: { 'content-length': content.length } });
    this.answer = new Promise((resolve, reject) => {
      this.http.on('response', (response) => {
        response.resume();
        resolve(response.statusCode!);
      });
      this.http.on('error', reject);
    });
    this.answer.catch(() => {});
  }

  begin(): Promise<unknown> {
    return new Promise((resolve) => this.http.write(this.content.subarray(0, this.half), resolve));
  }

  end(): void {
    this.http.end(this.content.subarray(this.half));
  }
}

/** Ids of objects that an OST has more than `bytes` of. */
function stored(index: number, bytes: number): string[] {
  const dir = join(servers.cwd, `ost-${index}`, 'chunks');
  const files = readdirSync(dir, { recursive: true, withFileTypes: true }).filter((one) => one.isFile());
  const large = files.filter((one) => statSync(join(one.parentPath, one.name)).blocks * 512 > bytes);
  return large.map((one) => one.parentPath.split('/').at(-1)!);
}

it('an OST, then the gateway, are killed in the middle of uploads', async () => {
  const { host } = servers;
  const { stdout } = await done(servers.rawstor('s3', 'key', 'create', 'me', '--output', 'json'));
  const { keyId: accessKeyId, secret: secretAccessKey } = JSON.parse(stdout);
  await done(servers.rawstor('s3', 'bucket', 'set', 'cut', '--compression', 'lz4'));
  const serve = () => servers.serve('s3', '--listen', `${host}:7773`, '--failure-domain', 'ost');
  await serve();
  const endpoint = `http://${host.replace(/^tcp:\/\//, '')}:7773`;
  const credentials = { accessKeyId, secretAccessKey };
  // An address that is signed before the content is known has no sum of it.
  const requestChecksumCalculation = 'WHEN_REQUIRED';
  const options = { endpoint, region: 'us-east-1', credentials, forcePathStyle: true };
  const client = new S3Client({ ...options, requestChecksumCalculation });
  const slow = async (command: PutObjectCommand | UploadPartCommand, seed: number, size = 32 * MiB) => {
    const content = imageBytes(seed, size);
    // biome-ignore lint/suspicious/noExplicitAny: the two commands have no type in common
    const put = new SlowPut(await getSignedUrl(client, command as any), content);
    await put.begin();
    return { put, content };
  };
  const sha = async (Key: string) => {
    const { Body } = await client.send(new GetObjectCommand({ Bucket: 'cut', Key }));
    return createHash('sha256')
      .update(await Body!.transformToByteArray())
      .digest('hex');
  };
  const shaOf = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

  const first = await slow(new PutObjectCommand({ Bucket: 'cut', Key: 'first' }), 1);
  await until(async () => [1, 2, 3].some((index) => stored(index, 8 * MiB).length > 0));
  const holder = [1, 2, 3].find((index) => stored(index, 8 * MiB).length > 0)!;
  await servers.kill(`ost-${holder}`);
  first.put.end();
  expect(await first.put.answer).toBe(200);
  expect(await sha('first')).toBe(shaOf(first.content));
  await servers.serveOst(holder);

  const at = { Bucket: 'cut', Key: 'parts' };
  const { UploadId } = await client.send(new CreateMultipartUploadCommand(at));
  const partOf = (PartNumber: number) => ({ ...at, UploadId, PartNumber });
  const part = imageBytes(5, 8 * MiB);
  const { ETag } = await client.send(new UploadPartCommand({ ...partOf(1), Body: part }));
  const cut = [
    await slow(new PutObjectCommand({ Bucket: 'cut', Key: 'second' }), 2),
    await slow(new UploadPartCommand(partOf(2)), 3, 8 * MiB),
    await slow(new PutObjectCommand({ Bucket: 'cut', Key: 'first' }), 4),
  ];
  await until(async () => [1, 2, 3].flatMap((index) => stored(index, 8 * MiB)).length >= 6);
  await servers.kill('s3');
  for (const { put } of cut) await expect(put.answer).rejects.toThrow();

  await serve();
  const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: 'cut' }));
  expect(Contents.map(({ Key, Size }) => [Key, Size])).toEqual([['first', 32 * MiB]]);
  expect(await sha('first')).toBe(shaOf(first.content));
  await expect(sha('second')).rejects.toMatchObject({ name: 'NoSuchKey' });
  const { Parts = [] } = await client.send(new ListPartsCommand({ ...at, UploadId }));
  expect(Parts.map(({ PartNumber }) => PartNumber)).toEqual([1]);
  const MultipartUpload = { Parts: [{ PartNumber: 1, ETag }] };
  await client.send(new CompleteMultipartUploadCommand({ ...at, UploadId, MultipartUpload }));
  expect(await sha('parts')).toBe(shaOf(part));

  const io = createIo({ poolBytes: 4 * MiB });
  const known = { location: `${host}:7771`, io, clock: systemClock, log: silentLogger, name: 'test' };
  const cluster = await Cluster.connect(known);
  const kept = async () => {
    const { objects } = await cluster.mds.call('mds.list', { after: 's3.', limit: 100 });
    return objects.filter(({ name }) => /^s3\.(object|pack)\./.test(name)).map(({ id }) => id);
  };
  try {
    // The leases of the dead gateway run out first; what is left is what the two keys name.
    await until(async () => {
      await servers.rawstor('s3', 'gc');
      return (await kept()).length === 2;
    });
    const ids = await kept();
    await until(async () => [1, 2, 3].flatMap((index) => stored(index, MiB)).every((id) => ids.includes(id)));
    expect(await sha('first')).toBe(shaOf(first.content));
    expect(await sha('parts')).toBe(shaOf(part));
  } finally {
    await cluster.close();
    await io.close();
    client.destroy();
  }
}, 300_000);
