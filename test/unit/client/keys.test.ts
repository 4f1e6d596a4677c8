import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import {
  BucketKeys,
  KeyRing,
  newBucketEncryption,
  newEncryption,
  readSecret,
  type Secret,
  unwrap,
  wrap,
} from '../../../src/client/keys/index.js';
import { encryptionSchema } from '../../../src/protocol/index.js';

/** What opens encrypted volumes. */

const dir = mkdtempSync(join(tmpdir(), 'rawstor-keys-'));
const file = (name: string, bytes: Uint8Array | string) => {
  const path = join(dir, name);
  writeFileSync(path, bytes);
  return path;
};
const key = (name: string) => readSecret({ kind: 'key', path: file(name, randomBytes(32)) });
const words = (text: string) => readSecret({ kind: 'passphrase', path: file('words', text) });
const denied = { code: 'DENIED', exitCode: 77 };

test('a data key is opened by what it was wrapped with, and by nothing else', async () => {
  const [one, other] = [await key('one'), await key('other')];
  const encryption = await newEncryption(one);
  expect(encryptionSchema.parse(encryption)).toEqual(encryption);
  const data = await unwrap(encryption, one, 'vm1');
  expect(data).toHaveLength(64);
  await expect(unwrap(encryption, other, 'vm1')).rejects.toMatchObject(denied);
  await expect(unwrap(encryption, await words('hello'), 'vm1')).rejects.toMatchObject(denied);
  const rewrapped = await wrap(data, await words('hello\n'));
  expect(rewrapped.kdf.name).toBe('scrypt');
  expect((await unwrap(rewrapped, await words('hello'), 'vm1')).equals(data)).toBe(true);
  await expect(unwrap(rewrapped, await words('hallo'), 'vm1')).rejects.toMatchObject(denied);
  await expect(unwrap(rewrapped, one, 'vm1')).rejects.toMatchObject(denied);
});

test('a record that was changed anywhere opens nothing', async () => {
  const secret = await key('changed');
  const encryption = await newEncryption(secret);
  for (const field of ['salt', 'nonce', 'wrapped'] as const) {
    const bytes = Buffer.from(encryption[field], 'base64');
    bytes[bytes.length >> 1]! ^= 4;
    const changed = { ...encryption, [field]: bytes.toString('base64') };
    await expect(unwrap(changed, secret, 'vm1')).rejects.toMatchObject(denied);
  }
});

test('two volumes have two keys, and two wrappings of one nothing in common', async () => {
  const secret = await key('two');
  const [a, b] = [await newEncryption(secret), await newEncryption(secret)];
  const data = await unwrap(a, secret, 'a');
  expect(data.equals(await unwrap(b, secret, 'b'))).toBe(false);
  expect(data.subarray(0, 32).equals(data.subarray(32))).toBe(false);
  expect((await wrap(data, secret)).wrapped).not.toBe(a.wrapped);
});

test('the file for the volume is taken, else the one for all; none is said', async () => {
  const [forOne, forAll] = [file('for-one', randomBytes(32)), file('for-all', randomBytes(40))];
  const ring = new KeyRing([
    { volume: null, kind: 'key', path: forAll },
    { volume: 'vm1', kind: 'key', path: forOne },
  ]);
  const encryption = await newEncryption(await readSecret({ kind: 'key', path: forOne }));
  expect(await ring.cipherOf({ name: 'vm1', encryption })).not.toBeNull();
  await expect(ring.cipherOf({ name: 'vm2', encryption })).rejects.toMatchObject(denied);
  expect(await ring.cipherOf({ name: 'plain' })).toBeNull();
  await expect(new KeyRing([]).cipherOf({ name: 'vm1', encryption })).rejects.toMatchObject(denied);
});

test('what a file held is overwritten when it was used, also where it opens nothing', async () => {
  const [right, wrong] = [await key('right'), await key('wrong')];
  const volume = { name: 'vm1', encryption: await newEncryption(right) };
  const bucket = await newBucketEncryption(right);
  for (const { bytes } of [right, wrong]) {
    const held: Secret[] = [];
    const ring = new KeyRing([]);
    ring.secretOf = async () => {
      const secret: Secret = { kind: 'key', bytes: Buffer.from(bytes), from: 'a file' };
      held.push(secret);
      return secret;
    };
    const opened = await Promise.allSettled([
      ring.cipherOf(volume),
      new BucketKeys(ring).keyOf('one', bucket),
    ]);
    const wanted = bytes === right.bytes ? 'fulfilled' : 'rejected';
    expect(opened.map(({ status }) => status)).toEqual([wanted, wanted]);
    expect(held.map((one) => one.bytes.equals(Buffer.alloc(32)))).toEqual([true, true]);
  }
});

test('files that cannot be keys are refused by name', async () => {
  const read = (kind: 'key' | 'passphrase', path: string) => readSecret({ kind, path });
  await expect(read('key', join(dir, 'none'))).rejects.toMatchObject({ code: 'NOT_FOUND' });
  await expect(read('key', file('short', randomBytes(31)))).rejects.toMatchObject({ code: 'INVALID' });
  await expect(read('key', file('long', randomBytes(65 * 1024)))).rejects.toMatchObject({ code: 'INVALID' });
  await expect(read('passphrase', file('empty', '\n'))).rejects.toMatchObject({ code: 'INVALID' });
  expect((await words('two words\r\n')).bytes.toString()).toBe('two words');
});

test('a pipe is read once and known from then on; one that nobody writes to stops nothing', async () => {
  const pipe = join(dir, 'pipe');
  execFileSync('mkfifo', [pipe]);
  const bytes = randomBytes(40);
  // Its writer comes late, and writes in pieces.
  spawn('sh', ['-c', `sleep 0.3; { head -c 10; sleep 0.2; cat; } < ${file('40', bytes)} > ${pipe}`]);
  const two = [1, 2].map(() => readSecret({ kind: 'key', path: pipe }));
  for (const secret of await Promise.all(two)) {
    expect(secret.bytes.equals(bytes)).toBe(true);
    // As who has used it does.
    secret.bytes.fill(0);
  }
  expect((await readSecret({ kind: 'key', path: pipe })).bytes.equals(bytes)).toBe(true);

  const dry = join(dir, 'dry');
  execFileSync('mkfifo', [dry]);
  const waiting = Array.from({ length: 8 }, () => readSecret({ kind: 'key', path: dry }, 500));
  const outcomes = Promise.allSettled(waiting);
  // More than there are threads: other files are read all the same.
  expect(await readFile(file('other', 'x'), 'utf8')).toBe('x');
  for (const outcome of await outcomes) {
    expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'TIMEOUT', where: dry } });
  }
  // It is tried again.
  spawn('sh', ['-c', `cat ${file('40', bytes)} > ${dry}`]);
  expect((await readSecret({ kind: 'key', path: dry })).bytes.equals(bytes)).toBe(true);
}, 20_000);
