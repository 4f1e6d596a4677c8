import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ok } from './outcome.js';
import { type Outcome, UpCluster } from './programs.js';

/** Encrypted volumes through real gateways: nothing of what a guest writes, nor what opens it, is anywhere else in clear. */

const MiB = 1024 * 1024;
const keys = mkdtempSync(join(tmpdir(), 'rawstor-keys-'));
const key = (name: string) => join(keys, name);
let cluster: UpCluster;

beforeAll(async () => {
  // As text, so that grep can look for them.
  writeFileSync(key('all'), randomBytes(32).toString('hex'));
  writeFileSync(key('other'), randomBytes(48).toString('hex'));
  writeFileSync(key('words'), 'correct horse battery staple\n');
  cluster = await UpCluster.start(['--volume', 'plain:64M', '--key-file', key('all')]);
  ok(await volume('create', 'vm1', '--size', '64M', '--encrypt', '--key-file', key('all')));
}, 120_000);
afterAll(async () => {
  await cluster?.remove();
  rmSync(keys, { recursive: true, force: true });
});

const volume = (...args: string[]): Promise<Outcome> => cluster.volume(...args);
const opens = ['--key-file', key('all')];
const file = (name: string) => join(cluster.cwd, name);

async function io(name: string, ...commands: string[]): Promise<string> {
  const options = commands.flatMap((command) => ['-c', command]);
  if (name.includes('@')) options.push('-r');
  const { stdout, stderr } = await execa('qemu-io', ['-f', 'raw', ...options, cluster.uriOf(name)]);
  expect(stdout + stderr).not.toMatch(/failed|error/i);
  return stdout;
}

/** Where the text lies in what the cluster keeps: data, metadata, logs. */
async function found(text: string): Promise<string> {
  const { stdout } = await execa('grep', ['-rlaF', text, cluster.cwd], { reject: false });
  return stdout;
}

it('what a guest writes is found on no OST; what it never wrote, or discarded, reads as zeros', async () => {
  const secret = 'the plaintext that nobody may find';
  const pattern = file('pattern');
  writeFileSync(pattern, Buffer.from(secret.repeat(4000)).subarray(0, 128 * 1024));
  // The grep finds it where it is not encrypted.
  await io('plain', `write -s ${pattern} 0 128k`, 'flush');
  rmSync(pattern);
  expect(await found(secret)).toMatch(/ost-/);
  await io('plain', 'discard 0 128k', 'flush');
  ok(await volume('rm', 'plain', '--force'));
  await expect.poll(() => found(secret), { timeout: 30_000 }).toBe('');

  writeFileSync(pattern, Buffer.from(secret.repeat(4000)).subarray(0, 128 * 1024));
  await io('vm1', `write -s ${pattern} 1M 128k`, `write -s ${pattern} 3584 512`, 'write -P 7 8M 3M', 'flush');
  const read = await io('vm1', 'read -v 1M 512', 'read -P 7 8M 3M', 'read -P 0 20M 4M', 'read -P 0 0 3584');
  expect(read).toMatch(/the\.plai/);
  await io(
    'vm1',
    'discard 9M 1M',
    'write -z 10M 512',
    'read -P 0 9M 1M',
    'read -P 0 10M 512',
    'read -P 7 8M 1M',
  );
  rmSync(pattern);
  expect(await found(secret)).toBe('');
  for (const name of ['all', 'other']) expect(await found(readFileSync(key(name), 'utf8'))).toBe('');
});

it('a key that nothing is to be encrypted with, and that opens nothing, is not passed over', async () => {
  const image = file('image.raw');
  writeFileSync(image, Buffer.alloc(MiB, 5));
  for (const args of [
    ['create', 'unsafe', '--size', '16M', ...opens],
    ['import', image, 'unsafe', '--passphrase-file', key('words')],
  ]) {
    const refused = await volume(...args);
    expect(refused.code, refused.stderr).toBe(64);
    expect(refused.stderr).toMatch(/would not be encrypted[\s\S]*--encrypt/);
    expect((await volume('info', 'unsafe')).code).toBe(66);
  }
  ok(await volume('create', 'open', '--size', '16M'));
  const check = await volume('key', 'check', 'open', ...opens, '--output', 'json');
  expect(check.code).toBe(64);
  expect(JSON.parse(check.stdout)).toEqual({ name: 'open', encrypted: false, opens: null });
  ok(await volume('rm', 'open', '--force'));
  rmSync(image);
});

it('without its key, or with another, it is opened by nobody, and that is said', async () => {
  const out = file('out.raw');
  const missing = await volume('export', 'vm1', out);
  expect(missing).toMatchObject({
    code: 77,
    stderr: expect.stringMatching(/takes its key.*DENIED[\s\S]*--key-file/),
  });
  const wrong = await volume('export', 'vm1', out, '--key-file', key('other'));
  expect(wrong).toMatchObject({ code: 77, stderr: expect.stringMatching(/does not open it/) });
  const kind = await volume('export', 'vm1', out, '--passphrase-file', key('words'));
  expect(kind).toMatchObject({
    code: 77,
    stderr: expect.stringMatching(/opened by a key, not by a passphrase/),
  });
  ok(await volume('create', 'closed', '--size', '4M', '--encrypt', '--key-file', key('other')));
  const refused = await execa('qemu-io', ['-f', 'raw', '-c', 'read 0 4k', cluster.uriOf('closed')], {
    reject: false,
  });
  expect(refused.exitCode).not.toBe(0);
  expect(ok(await volume('key', 'check', 'closed', '--key-file', key('other')))).toMatch(/opens closed/);
  expect(await volume('key', 'check', 'closed', ...opens)).toMatchObject({ code: 77 });
  for (const args of [['--encrypt'], ['--encrypt', ...opens, '--passphrase-file', key('words')]]) {
    expect(await volume('create', 'x', '--size', '4M', ...args)).toMatchObject({ code: 64 });
  }
  // What does not look at the content does without.
  ok(await volume('resize', 'closed', '8M'));
  ok(await volume('snapshot', 'closed@s'));
  ok(await volume('snapshot', 'rm', 'closed@s', '--yes'));
});

it('snapshots, clones, flattened ones, rolled back and larger ones are read with the same key', async () => {
  await io('vm1', 'write -P 1 30M 1M', 'flush');
  ok(await volume('snapshot', 'vm1@one'));
  await io('vm1', 'write -P 2 30M 512k', 'flush');
  expect(await io('vm1@one', 'read -P 1 30M 1M')).toMatch(/read 1048576/);
  ok(await volume('clone', 'vm1@one', 'vm2'));
  await io('vm2', 'read -P 1 30M 1M', 'write -P 3 30M 4k', 'read -P 3 30M 4k', 'read -P 1 31461376 512');
  ok(await volume('flatten', 'vm2'));
  await io('vm2', 'read -P 3 30M 4k', 'read -P 1 31461376 1015808');
  await io('vm1', 'read -P 2 30M 512k');
  ok(await volume('resize', 'vm1', '80M'));
  await io('vm1', 'read -P 2 30M 512k', 'read -P 0 64M 16M', 'write -P 4 79M 1M', 'read -P 4 79M 1M');
  ok(await volume('snapshot', 'rollback', 'vm1@one', '--no-safety', '--yes'));
  await io('vm1', 'read -P 1 30M 1M');
});

it('a passphrase takes the place of a key; data and clones are as they were', async () => {
  const changed = ['key', 'change', 'vm1', ...opens, '--new-passphrase-file', key('words')];
  expect(await volume('key', 'change', 'vm1', '--key-file', key('other'), ...changed.slice(5))).toMatchObject(
    {
      code: 77,
    },
  );
  ok(await volume(...changed));
  expect(await volume('key', 'check', 'vm1', ...opens)).toMatchObject({ code: 77 });
  ok(await volume('key', 'check', 'vm1', '--passphrase-file', key('words')));
  ok(await volume('key', 'check', 'vm2', ...opens));
  expect(await found('correct horse battery')).toBe('');
  const out = file('vm1.raw');
  ok(await volume('export', 'vm1', out, '--passphrase-file', `vm1=${key('words')}`, ...opens));
  expect(
    readFileSync(out)
      .subarray(30 * MiB, 31 * MiB)
      .every((byte) => byte === 1),
  ).toBe(true);
  ok(await volume('key', 'change', 'vm1', '--passphrase-file', key('words'), '--new-key-file', key('all')));
  await io('vm1', 'read -P 1 30M 1M');
});

it('images go in and come out in clear, differences too; S3 is refused', async () => {
  const image = randomBytes(5 * MiB + 512);
  writeFileSync(file('in.raw'), image);
  ok(await volume('import', file('in.raw'), 'copy', '--encrypt', ...opens));
  ok(await volume('export', 'copy', file('back.raw'), ...opens));
  expect(readFileSync(file('back.raw')).equals(image)).toBe(true);
  ok(await volume('import', file('in.raw'), 'target', '--encrypt', '--key-file', key('other')));
  for (const name of ['copy@a', 'target@a']) ok(await volume('snapshot', name));
  await io('copy', 'write -P 9 1M 64k', 'write -z 2M 64k', 'flush');
  ok(await volume('snapshot', 'copy@b'));
  ok(await volume('export', 'copy@b', file('diff'), '--since', 'a', ...opens));
  ok(await volume('import', '--apply', file('diff'), 'target', '--key-file', key('other')));
  for (const [name, by] of [
    ['copy@b', 'all'],
    ['target', 'other'],
  ] as const) {
    ok(await volume('export', name, file(`${by}.raw`), '--key-file', key(by)));
  }
  expect(readFileSync(file('other.raw')).equals(readFileSync(file('all.raw')))).toBe(true);
  expect(
    readFileSync(file('all.raw'))
      .subarray(MiB, MiB + 65536)
      .every((byte) => byte === 9),
  ).toBe(true);
  const published = await volume('snapshot', 'publish', 'copy@b', 's3://images/x');
  expect(published).toMatchObject({ code: 69, stderr: expect.stringMatching(/encrypted/) });
  expect(await volume('create', 'c', '--from', 'copy@b', '--encrypt', ...opens)).toMatchObject({ code: 64 });
  ok(await volume('create', 'c', '--from', 'copy@b'));
  await io('c', 'read -P 9 1M 64k');
});
