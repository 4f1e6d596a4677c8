import { createHash, randomBytes } from 'node:crypto';
import { createReadStream, readFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { Agent, type IncomingMessage, request } from 'node:http';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { GetObjectCommand, ListObjectsV2Command, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import { execa } from 'execa';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { Cluster } from '../../../src/client/index.js';
import { systemClock } from '../../../src/common/clock.js';
import { silentLogger } from '../../../src/common/log.js';
import { createIo } from '../../../src/io/index.js';
import { ok } from './outcome.js';
import { UpCluster } from './programs.js';

/** What takes many bytes or many objects: how much memory and disk, whether a listing grows slower, how soon disks are made of an image. */

const LONG = process.env.RAWSTOR_TEST_LONG === '1';
const MiB = 1024 * 1024;
const LIMIT_MS = 60 * 60_000;
const GATEWAY_MIB = 200;
const AHEAD = 32;

let up: UpCluster;
let client: S3Client;
let env: Record<string, string>;
beforeEach(async () => {
  up = await UpCluster.start(['--volume', 'scratch:16M']);
  const lines = readFileSync(join(up.facts.dir, 's3.env'), 'utf8').split('\n');
  env = Object.fromEntries(
    lines.flatMap((line) => {
      const found = /^(?:export )?(AWS_[A-Z_]+)='?([^']*)'?$/.exec(line);
      return found === null ? [] : [[found[1]!, found[2]!]];
    }),
  );
  client = new S3Client({
    endpoint: env.AWS_ENDPOINT_URL!,
    region: 'us-east-1',
    credentials: { accessKeyId: env.AWS_ACCESS_KEY_ID!, secretAccessKey: env.AWS_SECRET_ACCESS_KEY! },
    forcePathStyle: true,
    // An address that is signed before the content is known has no sum of it.
    requestChecksumCalculation: 'WHEN_REQUIRED',
  });
}, 120_000);
afterEach(async () => {
  client.destroy();
  await up.remove();
}, 120_000);

const agent = new Agent({ keepAlive: true, maxSockets: AHEAD });

/** @returns the answer to a request whose body is sent as a stream */
function send(url: string, method: string, body: Readable | null, bytes: number): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const http = request(url, { method, agent, headers: { 'content-length': bytes } }, resolve);
    http.on('error', reject);
    if (body === null) http.end();
    else pipeline(body, http).catch(reject);
  });
}

/** Different everywhere, and the same each time. */
function* pattern(bytes: number, compressible: boolean): Generator<Buffer, undefined> {
  const base = compressible ? Buffer.alloc(MiB, 'words and more of them, ') : randomBytes(MiB);
  for (let at = 0; at < bytes; at += MiB) {
    const piece = Buffer.from(base);
    for (let i = 0; i < MiB; i += 512) piece.writeUInt32LE((at + i) / 512, i);
    yield piece.subarray(0, Math.min(MiB, bytes - at));
  }
}

async function sha(content: AsyncIterable<Buffer>): Promise<string> {
  const sum = createHash('sha256');
  for await (const bytes of content) sum.update(bytes);
  return sum.digest('hex');
}

function peakMiB(name: string): number {
  const status = readFileSync(`/proc/${up.facts.pids[name]}/status`, 'utf8');
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)![1]) / 1024;
}

const WAYS: [string, string[], boolean][] = [['compressed', ['--compression', 'zstd'], true]];
if (LONG) WAYS.push(['as it comes', [], false]);

it.each(WAYS)(
  'a large object goes up and comes down, %s, in little memory of the gateway',
  async (_name, settings, words) => {
    const bytes = (LONG ? 5 * 1024 : 128) * MiB;
    ok(await up.rawstor('s3', 'bucket', 'set', 'large', '--retention-days', '0', ...settings));
    const at = { Bucket: 'large', Key: 'k' };
    const sum = createHash('sha256');
    const content = function* () {
      for (const piece of pattern(bytes, words)) {
        sum.update(piece);
        yield piece;
      }
    };
    const put = await getSignedUrl(client, new PutObjectCommand(at), { expiresIn: 36_000 });
    const began = Date.now();
    const answer = await send(put, 'PUT', Readable.from(content(), { objectMode: false }), bytes);
    answer.resume();
    expect(answer.statusCode).toBe(200);
    const there = Date.now();
    const got = createHash('sha256');
    const get = await getSignedUrl(client, new GetObjectCommand(at), { expiresIn: 36_000 });
    for await (const piece of await send(get, 'GET', null, 0)) got.update(piece);
    const back = Date.now();
    expect(got.digest('hex')).toBe(sum.digest('hex'));
    const rate = (ms: number) => Math.round((bytes / MiB / ms) * 1000);
    const peak = peakMiB('s3');
    console.info(
      `PUT ${rate(there - began)} MiB/s, GET ${rate(back - there)} MiB/s, gateway at most ${Math.round(peak)} MiB`,
    );
    expect(peak).toBeLessThan(GATEWAY_MIB);
  },
  LIMIT_MS,
);

it.runIf(LONG)(
  '100,000 objects of 4 KiB (long): pages cost the same everywhere, disks take at most twice the data',
  async () => {
    const count = 100_000;
    ok(await up.rawstor('s3', 'bucket', 'set', 'many', '--retention-days', '0'));
    let next = 0;
    const began = Date.now();
    const put = async () => {
      for (let i = next++; i < count; i = next++) {
        const Key = `dir${i % 100}/object-${String(i).padStart(6, '0')}`;
        await client.send(new PutObjectCommand({ Bucket: 'many', Key, Body: randomBytes(4096) }));
      }
    };
    await Promise.all(Array.from({ length: AHEAD }, put));
    const puts = Math.round(count / ((Date.now() - began) / 1000));
    const pages: number[] = [];
    let listed = 0;
    for (let ContinuationToken: string | undefined, more = true; more; ) {
      const start = performance.now();
      const asked = { Bucket: 'many', ...(ContinuationToken === undefined ? {} : { ContinuationToken }) };
      const page = await client.send(new ListObjectsV2Command(asked));
      pages.push(performance.now() - start);
      listed += page.Contents?.length ?? 0;
      ContinuationToken = page.NextContinuationToken;
      more = page.IsTruncated === true;
    }
    expect(listed).toBe(count);
    const median = (part: number[]) => [...part].sort((a, b) => a - b)[Math.floor(part.length / 2)]!;
    const [early, late] = [median(pages.slice(0, 25)), median(pages.slice(-25))];
    const { stdout } = await execa('du', ['-s', '--block-size=1', up.facts.dir]);
    const { stdout: logs } = await execa('du', ['-s', '--block-size=1', join(up.facts.dir, 'logs')]);
    const disk = Number.parseInt(stdout, 10) - Number.parseInt(logs, 10);
    const twofold = disk / (2 * count * 4096);
    console.info(
      `${puts} PUT/s, pages of 1000: ${early.toFixed(0)} ms at first, ${late.toFixed(0)} ms at last; disk ${twofold.toFixed(2)} x data, ` +
        `gateway at most ${Math.round(peakMiB('s3'))} MiB`,
    );
    expect(late).toBeLessThan(2 * early);
    expect(twofold).toBeLessThan(2);
  },
  LIMIT_MS,
);

it(
  'ten disks are made of one image at once; each is its own, and the image stays',
  async () => {
    const bytes = (LONG ? 2048 : 64) * MiB;
    ok(await up.rawstor('s3', 'bucket', 'set', 'images', '--image', 'on'));
    const at = { Bucket: 'images', Key: 'golden.raw' };
    const path = join(up.cwd, 'golden.raw');
    await execa('bash', ['-c', 'head -c "$1" /dev/urandom > "$2"', '-', String(bytes), path]);
    await execa(
      'aws',
      ['--endpoint-url', env.AWS_ENDPOINT_URL!, 's3', 'cp', '--quiet', path, 's3://images/golden.raw'],
      { env },
    );
    // The first finds out where the image lies.
    ok(await up.volume('create', 'vm0', '--from', 's3://images/golden.raw'));
    const io = createIo({ poolBytes: 4 * MiB });
    const known = { location: up.facts.mds, io, clock: systemClock, log: silentLogger, name: 'test' };
    const cluster = await Cluster.connect(known);
    try {
      const { parent } = await cluster.mds.call('mds.getObj', { ref: 'vm0' });
      const began = performance.now();
      for (let i = 1; i < 10; i++) {
        await cluster.cloneVolume(
          { ref: parent!.objectId, version: parent!.version, name: `vm${i}`, onDegraded: 'pause' },
          10_000,
        );
      }
      console.info(`nine clones in ${Math.round(performance.now() - began)} ms`);
    } finally {
      await cluster.close();
      await io.close();
    }
    const names = Array.from({ length: 10 }, (_, i) => `vm${i}`);
    const place = (i: number) => `${i}M`;
    await Promise.all(
      names.map((name, i) =>
        execa('qemu-io', [
          '-f',
          'raw',
          '-c',
          `write -P ${i + 1} ${place(i)} 1M`,
          '-c',
          'flush',
          up.uriOf(name),
        ]),
      ),
    );
    const image = Buffer.alloc(10 * MiB);
    const file = await open(path);
    await file.read(image, 0, image.length, 0);
    await file.close();
    for (const [i, name] of names.entries()) {
      const out = join(up.cwd, `${name}.bin`);
      const args = ['dd', '-f', 'raw', '-O', 'raw', `if=${up.uriOf(name)}`, `of=${out}`, 'bs=1M', 'count=10'];
      await execa('qemu-img', args);
      const found = readFileSync(out);
      for (let piece = 0; piece < 10; piece++) {
        const [from, to] = [piece * MiB, (piece + 1) * MiB];
        const wanted = piece === i ? Buffer.alloc(MiB, i + 1) : image.subarray(from, to);
        expect(found.subarray(from, to).equals(wanted), `${name}, piece ${piece}`).toBe(true);
      }
    }
    const get = await getSignedUrl(client, new GetObjectCommand(at), { expiresIn: 36_000 });
    expect(await sha(await send(get, 'GET', null, 0))).toBe(await sha(createReadStream(path)));
  },
  LIMIT_MS,
);
