import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  CreateBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { MiB } from '../../../src/common/units.js';
import { S3Rig } from './rig.js';

/** Clients as Debian and npm have them, each unmodified: upload, list, a part, many parts, delete. */

let s3: S3Rig;
beforeAll(async () => {
  s3 = await S3Rig.start();
}, 60_000);
afterAll(() => s3.end());

const LIMIT_MS = 180_000;
const sha = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const fileSha = (path: string) => sha(readFileSync(path));

test(
  'aws',
  async () => {
    const aws = (...args: string[]) => s3.run('aws', ['--endpoint-url', s3.url, ...args]);
    const [small, large] = [s3.file('aws-small', 5000), s3.file('aws-large', 20 * MiB + 7)];
    const back = join(s3.files, 'aws-back');
    await aws('s3', 'mb', 's3://aws-bucket');
    await aws('s3', 'cp', small.path, 's3://aws-bucket/dir/small file');
    await aws('s3', 'cp', large.path, 's3://aws-bucket/large');
    expect(await aws('s3', 'ls', '--recursive', 's3://aws-bucket')).toMatch(
      /5000 dir\/small file\n.* 20971527 large/,
    );
    expect(await aws('s3', 'ls', 's3://aws-bucket')).toMatch(/PRE dir\/\n/);
    await aws('s3', 'cp', 's3://aws-bucket/large', back);
    expect(fileSha(back)).toBe(sha(large.content));
    await aws(
      's3api',
      'get-object',
      '--bucket',
      'aws-bucket',
      '--key',
      'large',
      '--range',
      'bytes=9000000-9000099',
      back,
    );
    expect(readFileSync(back).equals(large.content.subarray(9_000_000, 9_000_100))).toBe(true);
    await aws('s3', 'rm', '--recursive', 's3://aws-bucket');
    await aws('s3', 'rb', 's3://aws-bucket');
    expect(await aws('s3', 'ls')).not.toContain('aws-bucket');
  },
  LIMIT_MS,
);

test(
  's3cmd',
  async () => {
    const config = join(s3.files, 's3cfg');
    const host = `127.0.0.1:${s3.port}`;
    const lines = [
      `access_key = ${s3.keyId}`,
      `secret_key = ${s3.secret}`,
      `host_base = ${host}`,
      `host_bucket = ${host}`,
    ];
    writeFileSync(config, ['[default]', ...lines, 'use_https = False', ''].join('\n'));
    const s3cmd = (...args: string[]) => s3.run('s3cmd', ['-c', config, '--no-progress', ...args]);
    const [small, large] = [s3.file('s3cmd-small', 5000), s3.file('s3cmd-large', 12 * MiB)];
    const back = join(s3.files, 's3cmd-back');
    await s3cmd('mb', 's3://s3cmd-bucket');
    await s3cmd('put', small.path, 's3://s3cmd-bucket/small');
    await s3cmd('put', '--multipart-chunk-size-mb=5', large.path, 's3://s3cmd-bucket/large');
    expect(await s3cmd('ls', 's3://s3cmd-bucket')).toContain('s3://s3cmd-bucket/large');
    await s3cmd('get', '--force', 's3://s3cmd-bucket/large', back);
    expect(fileSha(back)).toBe(sha(large.content));
    // Goes on where a download ended: a ranged read.
    writeFileSync(back, large.content.subarray(0, 3_000_001));
    await s3cmd('get', '--continue', 's3://s3cmd-bucket/large', back);
    expect(fileSha(back)).toBe(sha(large.content));
    await s3cmd('rm', 's3://s3cmd-bucket/small', 's3://s3cmd-bucket/large');
    await s3cmd('rb', 's3://s3cmd-bucket');
  },
  LIMIT_MS,
);

test(
  'rclone',
  async () => {
    const remote = `:s3,provider=Other,endpoint='${s3.url}',access_key_id=${s3.keyId},secret_access_key=${s3.secret}:rclone-bucket`;
    const rclone = (...args: string[]) => s3.run('rclone', ['--config', '/dev/null', ...args]);
    const from = join(s3.files, 'rclone-from');
    mkdirSync(from);
    s3.file('rclone-from/a', 3000);
    const large = s3.file('rclone-from/large', 11 * MiB);
    await rclone('mkdir', remote);
    await rclone('copy', '--s3-upload-cutoff=6M', '--s3-chunk-size=5M', from, remote);
    expect(await rclone('ls', remote)).toMatch(/11534336 large/);
    await rclone('check', '--download', from, remote);
    const part = await s3.run('sh', [
      '-c',
      'rclone --config /dev/null cat --offset 7000000 --count 100 "$1" | sha256sum | cut -c1-64',
      'sh',
      `${remote}/large`,
    ]);
    expect(part).toBe(sha(large.content.subarray(7_000_000, 7_000_100)));
    await rclone('purge', remote);
    expect(await rclone('lsd', remote.replace(/rclone-bucket$/, ''))).not.toContain('rclone-bucket');
  },
  LIMIT_MS,
);

test(
  'boto3',
  async () => {
    const { path } = s3.file('boto-large', 11 * MiB);
    const script = `
import sys, boto3
from boto3.s3.transfer import TransferConfig
c = boto3.client('s3', endpoint_url=sys.argv[1])
c.create_bucket(Bucket='boto-bucket')
c.put_object(Bucket='boto-bucket', Key='small', Body=b'abc' * 1000, Metadata={'who': 'me'}, ChecksumAlgorithm='CRC32')
c.upload_file(sys.argv[2], 'boto-bucket', 'large', Config=TransferConfig(multipart_threshold=6 << 20, multipart_chunksize=5 << 20))
data = open(sys.argv[2], 'rb').read()
keys = [o['Key'] for o in c.list_objects_v2(Bucket='boto-bucket')['Contents']]
assert keys == ['large', 'small'], keys
assert c.get_object(Bucket='boto-bucket', Key='large')['Body'].read() == data
assert c.get_object(Bucket='boto-bucket', Key='large', Range='bytes=-10')['Body'].read() == data[-10:]
assert c.head_object(Bucket='boto-bucket', Key='small')['Metadata'] == {'who': 'me'}
assert c.head_object(Bucket='boto-bucket', Key='large')['ETag'].endswith('-3"')
c.copy_object(Bucket='boto-bucket', Key='copy', CopySource='boto-bucket/large')
assert c.get_object(Bucket='boto-bucket', Key='copy')['Body'].read() == data
gone = c.delete_objects(Bucket='boto-bucket', Delete={'Objects': [{'Key': k} for k in ('small', 'large', 'copy')]})
assert len(gone['Deleted']) == 3, gone
c.delete_bucket(Bucket='boto-bucket')
print('done')
`;
    expect(await s3.run('/usr/bin/python3', ['-c', script, s3.url, path])).toBe('done');
  },
  LIMIT_MS,
);

test(
  '@aws-sdk/client-s3, and an address that it has signed',
  async () => {
    const credentials = { accessKeyId: s3.keyId, secretAccessKey: s3.secret };
    const client = new S3Client({ endpoint: s3.url, region: 'us-east-1', credentials, forcePathStyle: true });
    const [Bucket, Key] = ['sdk-bucket', 'ключ/один +%.txt'];
    await client.send(new CreateBucketCommand({ Bucket }));
    await client.send(new PutObjectCommand({ Bucket, Key, Body: 'content', ContentType: 'text/plain' }));
    const listed = await client.send(new ListObjectsV2Command({ Bucket }));
    expect(listed.Contents?.map((one) => one.Key)).toEqual([Key]);
    const found = await client.send(new GetObjectCommand({ Bucket, Key, Range: 'bytes=1-3' }));
    expect(await found.Body!.transformToString()).toBe('ont');
    expect(found.ContentRange).toBe('bytes 1-3/7');
    const answer = await fetch(
      await getSignedUrl(client, new GetObjectCommand({ Bucket, Key }), { expiresIn: 60 }),
    );
    expect(await answer.text()).toBe('content');
    await client.send(new DeleteObjectCommand({ Bucket, Key }));
    await expect(client.send(new GetObjectCommand({ Bucket, Key }))).rejects.toMatchObject({
      name: 'NoSuchKey',
    });
    client.destroy();
  },
  LIMIT_MS,
);

test(
  'restic: a backup and its restoration',
  async () => {
    const repository = `s3:${s3.url}/restic-bucket`;
    const env = { RESTIC_PASSWORD: 'of a test', RESTIC_REPOSITORY: repository };
    const restic = (...args: string[]) => s3.run('restic', ['--no-cache', ...args], { env });
    const from = join(s3.files, 'restic-from');
    mkdirSync(from);
    for (let i = 0; i < 20; i++) s3.file(`restic-from/file${i}`, 1000 * i);
    const { content } = s3.file('restic-from/large', 9 * MiB);
    await restic('init');
    await restic('backup', from);
    expect(await restic('snapshots')).toContain('1 snapshots');
    await restic('check', '--read-data');
    const to = join(s3.files, 'restic-to');
    await restic('restore', 'latest', '--target', to);
    expect(fileSha(join(to, from, 'large'))).toBe(sha(content));
    await restic('forget', '--keep-last', '1', '--prune');
  },
  LIMIT_MS,
);
