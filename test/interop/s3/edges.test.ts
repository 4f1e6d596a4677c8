import { connect } from 'node:net';
import * as sdk from '@aws-sdk/client-s3';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { MiB } from '../../../src/common/units.js';
import { runningSum } from '../../../src/s3-lite/checksums.js';
import { inPieces } from '../../../src/s3-lite/pieces.js';
import { until } from '../client/rig.js';
import { BUCKET, presigned, raw, send } from './raw-request.js';
import { S3Rig } from './rig.js';

/** What is unusual and allowed, or wrong and to be said so. */

let s3: S3Rig;
let client: sdk.S3Client;
const Bucket = 'raw-bucket';
beforeAll(async () => {
  s3 = await S3Rig.start({ idleMs: 1500 });
  client = s3.client();
  await client.send(new sdk.CreateBucketCommand({ Bucket }));
}, 60_000);
afterAll(async () => {
  client.destroy();
  await s3.end();
});

test('a request that takes longer than a connection may be idle is answered', async () => {
  const { catalog } = s3.s3.store;
  const transact = catalog.transact;
  catalog.transact = async (...args) => {
    catalog.transact = transact;
    await new Promise((resolve) => setTimeout(resolve, 4000));
    return catalog.transact(...args);
  };
  expect((await raw(s3, 'PUT', `${BUCKET}/slow`, { body: 'x' })).status).toBe(200);
}, 30_000);

test('an object named metrics is an object where the host names its bucket', async () => {
  await client.send(new sdk.PutObjectCommand({ Bucket, Key: 'metrics', Body: 'mine' }));
  const host = `${Bucket}.s3.test`;
  expect((await raw(s3, 'GET', '/metrics', { host })).text).toBe('mine');
  expect((await send(s3, 'GET', '/metrics', { host })).code).toBe('AccessDenied');
  expect((await send(s3, 'GET', '/metrics', {})).text).toContain('rawstor_');
});

test('a host that names no bucket leads to no other one', async () => {
  const at = { Bucket, Key: 'dir/k' };
  const { UploadId } = await client.send(new sdk.CreateMultipartUploadCommand(at));
  const host = `${Bucket}/dir.s3.test`;
  const query = `uploadId=${UploadId}`;
  for (const method of ['GET', 'DELETE']) {
    expect((await raw(s3, method, '/k', { host, query })).code).toBe('NoSuchBucket');
  }
  expect((await raw(s3, 'PUT', '/', { host })).code).toBe('InvalidBucketName');
  expect((await client.send(new sdk.ListPartsCommand({ ...at, UploadId }))).UploadId).toBe(UploadId);
  await client.send(new sdk.AbortMultipartUploadCommand({ ...at, UploadId }));
});

test('the sum of the whole is told with the whole, and with no part of it', async () => {
  const at = { Bucket, Key: 'summed' };
  const sums = { ...at, ChecksumAlgorithm: 'CRC32' as const };
  const { UploadId } = await client.send(new sdk.CreateMultipartUploadCommand(sums));
  const Parts: sdk.CompletedPart[] = [];
  for (const [i, Body] of [Buffer.alloc(5 * MiB, 1), Buffer.from('end')].entries()) {
    const part = { ...sums, UploadId, PartNumber: i + 1, Body };
    const { ETag, ChecksumCRC32 } = await client.send(new sdk.UploadPartCommand(part));
    Parts.push({ ETag, ChecksumCRC32, PartNumber: i + 1 });
  }
  await client.send(new sdk.CompleteMultipartUploadCommand({ ...at, UploadId, MultipartUpload: { Parts } }));
  await client.send(new sdk.PutObjectCommand({ ...sums, Key: 'one', Body: 'one' }));
  const sumOf = async (Key: string, PartNumber?: number) => {
    const asked = { Bucket, Key, ...(PartNumber === undefined ? {} : { PartNumber }) };
    const ChecksumMode = 'ENABLED';
    const { ChecksumCRC32 } = await client.send(new sdk.HeadObjectCommand({ ...asked, ChecksumMode }));
    const got = await client.send(new sdk.GetObjectCommand({ ...asked, ChecksumMode }));
    await got.Body!.transformToByteArray();
    expect(got.ChecksumCRC32).toBe(ChecksumCRC32);
    return ChecksumCRC32;
  };
  expect(await sumOf('summed')).toMatch(/-2$/);
  expect(await sumOf('summed', 1)).toBeUndefined();
  expect(await sumOf('one', 1)).toBe(await sumOf('one'));
}, 60_000);

test('an upload with CRC64NVME has a sum of the whole, which the client tells', async () => {
  const at = { Bucket, Key: 'sum-64' };
  const { UploadId, ChecksumType } = await client.send(
    new sdk.CreateMultipartUploadCommand({ ...at, ChecksumAlgorithm: 'CRC64NVME' }),
  );
  expect(ChecksumType).toBe('FULL_OBJECT');
  const sumOf = (...pieces: Buffer[]) => {
    const sum = runningSum('CRC64NVME');
    for (const piece of pieces) sum.update(piece);
    return sum.digest();
  };
  const bodies = [Buffer.alloc(5 * MiB, 'ab'), Buffer.from('end')];
  const Parts: sdk.CompletedPart[] = [];
  for (const [i, Body] of bodies.entries()) {
    const ChecksumCRC64NVME = sumOf(Body);
    const part = { ...at, UploadId, PartNumber: i + 1, Body, ChecksumCRC64NVME };
    const { ETag } = await client.send(new sdk.UploadPartCommand(part));
    Parts.push({ ETag, ChecksumCRC64NVME, PartNumber: i + 1 });
  }
  const ChecksumCRC64NVME = sumOf(...bodies);
  const whole = { ...at, UploadId, ChecksumCRC64NVME, MultipartUpload: { Parts } };
  await client.send(new sdk.CompleteMultipartUploadCommand(whole));
  const told = await client.send(new sdk.HeadObjectCommand({ ...at, ChecksumMode: 'ENABLED' }));
  expect(told).toMatchObject({ ChecksumCRC64NVME, ChecksumType: 'FULL_OBJECT' });
}, 60_000);

test('metadata of a presigned address is told again, or refused', async () => {
  const put = (name: string, value: string) => {
    const query = presigned(s3, 'PUT', `${BUCKET}/pre`, (all) => all.set(name, value));
    return send(s3, 'PUT', `${BUCKET}/pre?${query}`, {}, Buffer.from('abc'));
  };
  expect((await put('x-amz-meta-name', '名')).status).toBe(200);
  const { headers } = await raw(s3, 'GET', `${BUCKET}/pre`);
  expect(Buffer.from(String(headers['x-amz-meta-name']), 'latin1').toString()).toBe('名');
  expect((await put('x-amz-meta-a b', 'v')).code).toBe('InvalidArgument');
  expect((await put('x-amz-meta-line', 'a\nb')).code).toBe('InvalidArgument');
  expect((await raw(s3, 'GET', `${BUCKET}/pre`)).status).toBe(200);
});

test('keys and prefixes that are too long are no failure of the server', async () => {
  const long = 'k'.repeat(2000);
  for (const method of ['GET', 'DELETE', 'PUT']) {
    expect((await raw(s3, method, `${BUCKET}/${long}`)).code).toBe('KeyTooLongError');
  }
  for (const query of [`prefix=${long}`, `list-type=2&start-after=${long}`, `marker=${long}`]) {
    expect((await raw(s3, 'GET', BUCKET, { query })).status).toBe(200);
    expect((await raw(s3, 'GET', BUCKET, { query: `${query}&uploads=` })).status).toBe(200);
  }
  expect((await raw(s3, 'GET', BUCKET, { query: `key-marker=${long}&uploads=` })).status).toBe(200);
  const body = '<Delete><constructor/><Object><Key>x</Key></Object></Delete>';
  expect((await raw(s3, 'POST', BUCKET, { query: 'delete=', body })).code).toBe('MalformedXML');
});

test('a subresource that is not known is not taken for the bucket', async () => {
  expect((await raw(s3, 'DELETE', BUCKET, { query: 'metadataTable=' })).code).toBe('NotImplemented');
  expect((await raw(s3, 'PUT', '/other-bucket', { query: 'abac=' })).code).toBe('NotImplemented');
  const headers = { 'x-amz-bucket-object-lock-enabled': 'true' };
  expect((await raw(s3, 'PUT', '/other-bucket', { headers })).code).toBe('NotImplemented');
});

test('uploads are listed page by page, common prefixes too', async () => {
  for (const Key of ['a/1', 'a/2', 'b/1', 'c']) {
    await client.send(new sdk.CreateMultipartUploadCommand({ Bucket, Key }));
  }
  const seen: (string | undefined)[] = [];
  for (let marker: object | null = {}; marker !== null && seen.length < 9; ) {
    const page: sdk.ListMultipartUploadsCommandOutput = await client.send(
      new sdk.ListMultipartUploadsCommand({ Bucket, Delimiter: '/', MaxUploads: 1, ...marker }),
    );
    seen.push(...(page.CommonPrefixes ?? []).map(({ Prefix }) => Prefix));
    seen.push(...(page.Uploads ?? []).map(({ Key }) => Key));
    const { NextKeyMarker: KeyMarker, NextUploadIdMarker: UploadIdMarker } = page;
    marker = page.IsTruncated ? { KeyMarker, UploadIdMarker } : null;
  }
  expect(seen).toEqual(['a/', 'b/', 'c']);
});

test('who reads slowly gets all of an object that is replaced meanwhile', async () => {
  const length = 24 * MiB;
  await client.send(new sdk.PutObjectCommand({ Bucket, Key: 'big', Body: Buffer.alloc(length, 7) }));
  const query = presigned(s3, 'GET', `${BUCKET}/big`);
  const socket = connect(s3.port, '127.0.0.1');
  let got = 0;
  let closed = false;
  socket.on('close', () => {
    closed = true;
  });
  socket.write(
    `GET ${BUCKET}/big?${query} HTTP/1.1\r\nhost: 127.0.0.1:${s3.port}\r\nconnection: close\r\n\r\n`,
  );
  await new Promise<void>((resolve) => {
    socket.once('data', (bytes) => {
      got += bytes.length;
      socket.pause();
      resolve();
    });
  });
  await client.send(new sdk.PutObjectCommand({ Bucket, Key: 'big', Body: 'small' }));
  await s3.s3.store.collector.run(0);
  socket.on('data', (bytes) => {
    got += bytes.length;
  });
  socket.resume();
  await until(() => closed, 30_000);
  expect(got).toBeGreaterThan(length);
}, 60_000);

test('chunks of a byte are put together, and nothing of them is lost', async () => {
  const sizes = [1, 1, 5000, 1, 4095, 70_000, ...Array.from({ length: 100_000 }, () => 1), 65_535, 2];
  const all = Buffer.from(sizes.flatMap((size, i) => Array.from({ length: size }, () => i % 251)));
  async function* source() {
    let at = 0;
    for (const size of sizes) {
      yield all.subarray(at, at + size);
      at += size;
    }
  }
  const pieces: Buffer[] = [];
  for await (const piece of inPieces(source())) pieces.push(piece);
  expect(Buffer.concat(pieces).equals(all)).toBe(true);
  expect(pieces.length).toBeLessThan(20);
});
