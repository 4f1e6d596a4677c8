import { connect, type Socket } from 'node:net';
import * as sdk from '@aws-sdk/client-s3';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { MiB } from '../../../src/common/units.js';
import { presigned } from './raw-request.js';
import { S3Rig } from './rig.js';

/** Clients that send their content slowly: what they hold up, and how long they may. */

let s3: S3Rig;
let client: sdk.S3Client;
const Bucket = 'slow';
const BODY = 6 * MiB;
beforeAll(async () => {
  s3 = await S3Rig.start();
  client = s3.client();
  await client.send(new sdk.CreateBucketCommand({ Bucket }));
}, 60_000);
afterAll(async () => {
  client.destroy();
  await s3.end();
});

/** A PUT of which something comes now and then. @param first so many bytes come at once */
class Trickle {
  readonly answer: Promise<string>;
  private readonly socket: Socket;
  private readonly timer: NodeJS.Timeout;

  constructor(
    of: S3Rig,
    path: string,
    query: Record<string, string> = {},
    everyMs = 20,
    first = 0,
    bytes = 1,
  ) {
    const asked = presigned(of, 'PUT', path, (params) => {
      for (const [name, value] of Object.entries(query)) params.set(name, value);
    });
    this.socket = connect(of.port, '127.0.0.1');
    this.socket.on('error', () => {});
    const head = [
      `PUT ${path}?${asked} HTTP/1.1`,
      `host: 127.0.0.1:${of.port}`,
      `content-length: ${BODY}`,
      'connection: close',
    ];
    this.socket.write(`${head.join('\r\n')}\r\n\r\n`);
    this.socket.write(Buffer.alloc(first, 'x'));
    let left = BODY - first;
    this.timer = setInterval(() => {
      const now = Math.min(bytes, left);
      left -= now;
      if (now > 0) this.socket.write('x'.repeat(now));
    }, everyMs);
    this.answer = new Promise((resolve) => {
      let text = '';
      this.socket.on('data', (bytes) => {
        text += bytes.toString();
      });
      this.socket.on('close', () => {
        clearInterval(this.timer);
        const status = /^HTTP\/1.1 (\d+)/.exec(text)?.[1] ?? 'none';
        resolve(`${status} ${/<Code>([^<]*)/.exec(text)?.[1] ?? ''}`.trim());
      });
    });
  }

  end(): void {
    this.socket.destroy();
  }

  get isOpen(): boolean {
    return !this.socket.destroyed;
  }
}

async function begin(Key: string) {
  const { UploadId = '' } = await client.send(new sdk.CreateMultipartUploadCommand({ Bucket, Key }));
  const at = { Bucket, Key, UploadId };
  const Body = Buffer.alloc(BODY, 1);
  const { ETag } = await client.send(new sdk.UploadPartCommand({ ...at, PartNumber: 1, Body }));
  const { store } = s3.s3;
  const { gridWriter } = store;
  const placed = new Promise<void>((resolve) => {
    store.gridWriter = (...args) => {
      store.gridWriter = gridWriter;
      resolve();
      return gridWriter.apply(store, args);
    };
  });
  const slow = new Trickle(s3, `/${Bucket}/${Key}`, { partNumber: '2', uploadId: UploadId });
  await placed;
  return { at, ETag, slow, Body };
}

test('an abort ends a part that comes slowly', async () => {
  const { at, slow } = await begin('aborted');
  await client.send(new sdk.AbortMultipartUploadCommand(at));
  expect(await slow.answer).toBe('404 NoSuchUpload');
}, 60_000);

test('a completion goes by the parts that it names, and ends one that comes slowly', async () => {
  const { at, ETag, slow, Body } = await begin('completed');
  const MultipartUpload = { Parts: [{ PartNumber: 1, ETag }] };
  // What is refused leaves the upload as it is, and its part coming.
  await client.send(new sdk.PutObjectCommand({ Bucket, Key: at.Key, Body: 'there' }));
  const refused = new sdk.CompleteMultipartUploadCommand({ ...at, MultipartUpload, IfNoneMatch: '*' });
  await expect(client.send(refused)).rejects.toMatchObject({ name: 'PreconditionFailed' });
  expect(slow.isOpen).toBe(true);
  await client.send(new sdk.CompleteMultipartUploadCommand({ ...at, MultipartUpload }));
  expect(await slow.answer).toBe('404 NoSuchUpload');
  const { Body: read } = await client.send(new sdk.GetObjectCommand({ Bucket, Key: at.Key }));
  expect(Body.equals(await read!.transformToByteArray())).toBe(true);
}, 60_000);

test('content that comes too slowly is answered RequestTimeout; what comes fast enough, or ends in time, is not', async () => {
  const strict = await S3Rig.start({ body: { bytesPerSecond: 1000, windowMs: 1000 } });
  const of = strict.client();
  try {
    await of.send(new sdk.CreateBucketCommand({ Bucket }));
    const fast = new Trickle(strict, `/${Bucket}/fast`, {}, 20, 0, 1000);
    // About 50 bytes a second.
    const slow = new Trickle(strict, `/${Bucket}/slow`);
    expect(await slow.answer).toBe('400 RequestTimeout');
    // Nor does one that has sent much before.
    const stalled = new Trickle(strict, `/${Bucket}/stalled`, {}, 20, BODY - 1000);
    expect(await stalled.answer).toBe('400 RequestTimeout');
    const short = new Trickle(strict, `/${Bucket}/short`, {}, 20, BODY - 1);
    expect(await short.answer).toBe('200');
    // It has lasted longer than the window by now.
    expect(fast.isOpen).toBe(true);
    fast.end();
  } finally {
    of.destroy();
    await strict.end();
  }
}, 60_000);
