import { randomBytes } from 'node:crypto';
import { readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { GetObjectCommand, ListObjectsV2Command, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type Outcome, until } from './programs.js';
import { done, Servers } from './servers.js';

/** Real servers; gateway and MDS are killed, and the MDS's directory wiped: what S3 keeps, by the verbs for it. */

let servers: Servers;
beforeEach(async () => {
  servers = await Servers.start(3);
});
afterEach(() => servers.remove());

const rawstor = (...args: string[]): Promise<Outcome> => servers.rawstor(...args);
const said = async (...args: string[]) =>
  JSON.parse((await done(rawstor(...args, '--output', 'json'))).stdout);

it('keys come back with what they name after all was killed; access keys too', async () => {
  const { cwd, host } = servers;
  const { keyId, secret } = await said('s3', 'key', 'create', 'me');
  await done(rawstor('s3', 'bucket', 'set', 'kept', '--retention-days', '3'));
  const serve = () => servers.serve('s3', '--listen', `${host}:7773`, '--failure-domain', 'ost');
  await serve();
  const client = new S3Client({
    endpoint: `http://${host.replace(/^tcp:\/\//, '')}:7773`,
    region: 'us-east-1',
    credentials: { accessKeyId: keyId, secretAccessKey: secret },
    forcePathStyle: true,
  });
  const contents = new Map(['a', 'b/c', 'd'].map((key, i) => [key, randomBytes(3000 + i)]));
  const put = (Key: string, Body: Buffer) => client.send(new PutObjectCommand({ Bucket: 'kept', Key, Body }));
  for (const [key, body] of contents) await put(key, body);

  await done(rawstor('mds', 'dump', 'whole.jsonl'));
  await done(rawstor('mds', 'dump', 'open.jsonl', '--without-secrets'));
  const text = (name: string) => readFileSync(join(cwd, name), 'utf8');
  expect(statSync(join(cwd, 'whole.jsonl')).mode & 0o777).toBe(0o600);
  const holds = (name: string) =>
    [...text(name).matchAll(/"value":"([^"]*)"/g)].some((found) =>
      Buffer.from(found[1]!, 'base64').includes(secret),
    );
  expect([holds('whole.jsonl'), holds('open.jsonl')]).toEqual([true, false]);

  contents.set('e', randomBytes(9));
  await put('e', contents.get('e')!);
  await servers.kill('s3');
  await servers.kill('mds');
  rmSync(join(cwd, 'mds'), { recursive: true });
  await done(rawstor('mds', 'rebuild', '--dir', 'mds'));
  await servers.serveMds();
  // What its writer had open is not taken over at once.
  await until(async () => (await rawstor('s3', 'catalog', 'recover')).code === 0);
  // What it came back from stays as it is until somebody confirms: of the key, the bucket and the gateway.
  expect(await said('s3', 'catalog', 'show')).toMatchObject({
    state: 'unconfirmed',
    checkpoints: 0,
    journals: 3,
  });
  const refused = await rawstor('s3', 'catalog', 'recover', '--output', 'json');
  expect(JSON.parse(refused.stdout)).toEqual({ state: 'unconfirmed', recovered: null });
  await serve();
  const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: 'kept' }));
  expect(Contents.map(({ Key }) => Key)).toEqual([...contents.keys()]);
  for (const [Key, body] of contents) {
    const { Body } = await client.send(new GetObjectCommand({ Bucket: 'kept', Key }));
    expect(Buffer.from(await Body!.transformToByteArray()).equals(body)).toBe(true);
  }
  expect(await said('s3', 'verify')).toMatchObject({ objects: 4, withoutHash: 0, bad: [] });
  expect(await said('s3', 'bucket', 'ls')).toMatchObject([{ name: 'kept', retentionDays: 3 }]);
  const early = await rawstor('s3', 'catalog', 'checkpoint');
  expect([early.code === 0, early.stderr]).toEqual([false, expect.stringContaining('nobody has confirmed')]);
  expect(await said('s3', 'catalog', 'confirm')).toEqual({ state: 'whole' });
  expect(await said('s3', 'catalog', 'checkpoint')).toMatchObject({ released: 3 });
  expect(await said('s3', 'catalog', 'show')).toMatchObject({ checkpoints: 1, journals: 0 });
  client.destroy();
}, 180_000);
