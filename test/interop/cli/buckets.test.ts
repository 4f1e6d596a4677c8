import { randomBytes } from 'node:crypto';
import {
  copyFileSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ok } from './outcome.js';
import { UpCluster } from './programs.js';

/** Buckets that compress and encrypt, with real programs: settings, keys, verification, disks made of what is in them. */

const MiB = 1024 * 1024;
const LIMIT_MS = 180_000;
const SECRET = 'the plaintext that nobody may find';
const keys = mkdtempSync(join(tmpdir(), 'rawstor-bucket-keys-'));
const key = (name: string) => join(keys, name);
let cluster: UpCluster;
let env: Record<string, string>;
/** An image: words, holes, noise, and no whole block at its end. */
const image = Buffer.concat([
  Buffer.alloc(9 * MiB, SECRET),
  Buffer.alloc(4 * MiB),
  randomBytes(3 * MiB + 1000),
]);

beforeAll(async () => {
  for (const name of ['bucket', 'next', 'volume']) writeFileSync(key(name), randomBytes(32).toString('hex'));
  cluster = await UpCluster.start(['--key-file', `sealed=${key('bucket')}`]);
  const lines = readFileSync(join(cluster.facts.dir, 's3.env'), 'utf8').split('\n');
  env = Object.fromEntries(
    lines.flatMap((line) => {
      const found = /^(?:export )?(AWS_[A-Z_]+)='?([^']*)'?$/.exec(line);
      return found === null ? [] : [[found[1]!, found[2]!]];
    }),
  );
  writeFileSync(join(cluster.cwd, 'image.raw'), image);
}, 120_000);
afterAll(async () => {
  await cluster?.remove();
  rmSync(keys, { recursive: true, force: true });
});

const rawstor = (...args: string[]) => cluster.rawstor('s3', ...args);
const aws = (...args: string[]) =>
  execa('aws', ['--endpoint-url', env.AWS_ENDPOINT_URL!, 's3', ...args], { env, cwd: cluster.cwd });
const opens = ['--key-file', key('bucket')];

async function exported(name: string, ...more: string[]): Promise<Buffer> {
  const path = join(cluster.cwd, `${name}.raw`);
  ok(await cluster.volume('export', name, path, ...more));
  const bytes = readFileSync(path);
  rmSync(path);
  return bytes;
}

it(
  'settings are told, and what goes with nothing is refused',
  async () => {
    ok(await rawstor('bucket', 'set', 'small', '--compression', 'zstd'));
    const sealed = ok(
      await rawstor('bucket', 'set', 'sealed', '--compression', 'lz4', '--encrypt', ...opens),
    );
    expect(sealed).toMatch(/compression lz4, encrypted/);
    const json = ok(await rawstor('bucket', 'ls', '--output', 'json'));
    expect(JSON.parse(json)).toMatchObject([
      { name: 'sealed', compression: 'lz4', encrypted: true, image: false },
      { name: 'small', compression: 'zstd', encrypted: false },
    ]);
    expect(json).not.toMatch(/wrapped|salt/);
    expect(await rawstor('bucket', 'set', 'small', '--image', 'on')).toMatchObject({ code: 64 });
    expect(await rawstor('bucket', 'set', 'sealed', '--encrypt', ...opens)).toMatchObject({ code: 73 });
  },
  LIMIT_MS,
);

it(
  'an image in them becomes a disk; nothing of it is on an OST but where nobody asked for that',
  async () => {
    await aws('cp', '--quiet', 'image.raw', 's3://sealed/image.raw');
    renameSync(join(cluster.cwd, 'image.raw'), join(keys, 'image.raw'));
    await aws('cp', '--quiet', 's3://sealed/image.raw', 'back.raw');
    expect(readFileSync(join(cluster.cwd, 'back.raw')).equals(image)).toBe(true);
    rmSync(join(cluster.cwd, 'back.raw'));
    const found = await execa('grep', ['-rlaF', SECRET, cluster.cwd], { reject: false });
    expect(found.stdout).toBe('');
    await aws('cp', '--quiet', join(keys, 'image.raw'), 's3://small/image.raw');
    const whole = Buffer.concat([image, Buffer.alloc((4096 - (image.length % 4096)) % 4096)]);
    ok(await cluster.volume('create', 'disk', '--from', 's3://small/image.raw'));
    expect((await exported('disk')).equals(whole)).toBe(true);
    // The volume of `up`: told before anything is copied.
    expect(await cluster.volume('create', 'vm1', '--from', 's3://small/image.raw')).toMatchObject({
      code: 73,
    });
    const refused = await cluster.volume('create', 'vm2', '--from', 's3://sealed/image.raw');
    expect(refused).toMatchObject({
      code: 77,
      stderr: expect.stringMatching(/bucket is encrypted[\s\S]*BUCKET=/),
    });
    const args = [
      'create',
      'vm2',
      '--from',
      's3://sealed/image.raw',
      '--key-file',
      `sealed=${key('bucket')}`,
    ];
    ok(await cluster.volume(...args, '--encrypt', '--key-file', key('volume')));
    expect((await exported('vm2', '--key-file', key('volume'))).equals(whole)).toBe(true);
  },
  LIMIT_MS,
);

it(
  'all is verified with the key, and what is stored without it',
  async () => {
    const verify = async (...args: string[]) =>
      JSON.parse(ok(await rawstor('verify', '--output', 'json', ...args)));
    expect(await verify(...opens)).toEqual({
      objects: 2,
      bytes: 2 * image.length,
      withoutHash: 0,
      withoutKey: 0,
      bad: [],
    });
    expect(await verify()).toMatchObject({ objects: 2, withoutKey: 1, bad: [] });
  },
  LIMIT_MS,
);

it(
  'another key takes the place of the first, at gateways too',
  async () => {
    const change = ['bucket', 'key-change', 'sealed', '--new-key-file', key('next')];
    expect(await rawstor(...change, '--key-file', key('volume'))).toMatchObject({ code: 77 });
    ok(await rawstor(...change, ...opens));
    await expect(aws('cp', 's3://sealed/image.raw', 'no.raw')).rejects.toThrow(
      /AccessDenied.*does not have its key/,
    );
    copyFileSync(key('next'), key('bucket'));
    await aws('cp', '--quiet', 's3://sealed/image.raw', 'back.raw');
    expect(statSync(join(cluster.cwd, 'back.raw')).size).toBe(image.length);
  },
  LIMIT_MS,
);
