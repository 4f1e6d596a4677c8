import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync } from 'node:fs';
import { mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CreateBucketCommand, GetObjectCommand } from '@aws-sdk/client-s3';
import { type ExecaError, execa } from 'execa';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { MiB } from '../../../src/common/units.js';
import { until } from '../client/rig.js';
import { S3Rig } from './rig.js';

/** A bucket as a file system, by s3fs as Debian has it. It takes /dev/fuse, and the right to mount. */

let s3: S3Rig;
let mount: string;
let serving: ReturnType<typeof execa> | null = null;
beforeAll(async () => {
  s3 = await S3Rig.start();
  mount = join(s3.files, 'mount');
  mkdirSync(mount);
}, 60_000);
afterAll(async () => {
  if (serving !== null) {
    await execa('fusermount3', ['-u', mount], { reject: false });
    await serving.catch(() => {});
  }
  await s3.end();
});

const sha = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

test.skipIf(!existsSync('/dev/fuse'))(
  's3fs: files, directories, large ones in parts, parts of them changed, renamed, removed',
  async () => {
    const client = s3.client();
    await client.send(new CreateBucketCommand({ Bucket: 'mounted' }));
    const options = [
      `url=${s3.url}`,
      'use_path_request_style',
      'endpoint=us-east-1',
      'sigv4',
      'multipart_size=10',
    ];
    const args = ['mounted', mount, '-f', ...options.flatMap((one) => ['-o', one])];
    const env = {
      AWSACCESSKEYID: s3.keyId,
      AWSSECRETACCESSKEY: s3.secret,
      PATH: process.env.PATH,
      HOME: s3.files,
    };
    serving = execa('s3fs', args, { env, extendEnv: false });
    let ended: string | null = null;
    serving.catch((error: ExecaError) => {
      ended = `${error.shortMessage}\n${error.stderr}`;
    });
    const before = (await stat(s3.files)).dev;
    await until(async () => ended !== null || (await stat(mount)).dev !== before);
    expect(ended).toBeNull();

    await mkdir(join(mount, 'dir'));
    await writeFile(join(mount, 'dir/small'), 'hello');
    const large = randomBytes(25 * MiB + 3);
    await writeFile(join(mount, 'large'), large);
    expect((await readdir(mount)).sort()).toEqual(['dir', 'large']);
    expect(sha(await readFile(join(mount, 'large')))).toBe(sha(large));
    const { Body } = await client.send(new GetObjectCommand({ Bucket: 'mounted', Key: 'large' }));
    expect(sha(await Body!.transformToByteArray())).toBe(sha(large));
    // What is left of it is copied by the gateway.
    const file = await open(join(mount, 'large'), 'r+');
    await file.write('changed', 11 * MiB);
    await file.close();
    large.write('changed', 11 * MiB);
    expect(sha(await readFile(join(mount, 'large')))).toBe(sha(large));
    await rename(join(mount, 'dir/small'), join(mount, 'dir/other'));
    expect(await readFile(join(mount, 'dir/other'), 'utf8')).toBe('hello');
    await rm(join(mount, 'dir'), { recursive: true });
    await rm(join(mount, 'large'));
    expect(await readdir(mount)).toEqual([]);
    client.destroy();
  },
  120_000,
);
