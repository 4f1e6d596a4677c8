import { createHash, randomBytes } from 'node:crypto';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ok } from './outcome.js';
import { begin, UpCluster, until } from './programs.js';

/** Imports and exports that are killed in their middle, and gone on with: nothing is wrong in what comes of it, and not all is done again. */

const MiB = 2 ** 20;
const SIZE = 96 * MiB;
let up: UpCluster;
let bytes: Buffer;
const path = (name: string) => join(up.cwd, name);
const json = async (...args: string[]) => JSON.parse(ok(await up.volume(...args, '--output', 'json')));
const hashOf = (file: string) => createHash('sha256').update(readFileSync(file)).digest('hex');

beforeAll(async () => {
  up = await UpCluster.start(['--osts', '2']);
  // Data, a hole, zeros that are written, data.
  bytes = Buffer.alloc(SIZE);
  randomBytes(40 * MiB).copy(bytes, 0);
  randomBytes(40 * MiB).copy(bytes, SIZE - 40 * MiB);
  writeFileSync(path('image.raw'), bytes);
  await execa('qemu-img', ['convert', '-O', 'qcow2', 'image.raw', 'image.qcow2'], { cwd: up.cwd });
}, 120_000);

afterAll(() => up?.remove(), 60_000);

/** Runs a command slowly and kills it once `enough` says so. */
async function killedOnce(enough: () => boolean | Promise<boolean>, ...args: string[]): Promise<void> {
  const child = begin('cli/rawstor-volume', [...args, '--rate', '8M'], { cwd: up.cwd });
  let ended = false;
  child.then(
    () => {
      ended = true;
    },
    () => {},
  );
  await until(async () => ended || (await enough()));
  expect(ended, 'it came to its end before it was killed').toBe(false);
  child.kill('SIGKILL');
  await child;
}

/** On the fullest OST. */
async function usedBytes(name: string): Promise<number> {
  const told = await up.volume('du', name, '--output', 'json');
  if (told.code !== 0) return 0;
  const [{ osts }] = JSON.parse(told.stdout) as [{ osts: { allocatedBytes: number }[] }];
  return Math.max(0, ...osts.map((ost) => ost.allocatedBytes));
}

async function contentOf(ref: string): Promise<string> {
  ok(await up.volume('export', ref, path('content.raw'), '--force'));
  return hashOf(path('content.raw'));
}

describe('an import that was killed', () => {
  it.each(['image.raw', 'image.qcow2'])(
    'goes on with %s',
    async (image) => {
      const name = image.replace('.', '-');
      await killedOnce(
        async () => (await usedBytes(`${name}.rawstor-partial`)) > 8 * MiB,
        'import',
        image,
        name,
      );
      expect((await up.volume('info', name)).code).toBe(66);
      // What was changed in the image meanwhile is found.
      const changed = Buffer.from(bytes);
      if (image === 'image.raw') {
        changed.fill(7, 4096, 8192);
        changed.fill(0, 65536, 65536 + 8192);
        writeFileSync(path(image), changed);
      }
      const done = await json('import', image, name, '--resume');
      expect(done.foundBytes).toBeGreaterThan(4 * MiB);
      expect(done.foundBytes).toBeLessThan(80 * MiB);
      expect(await contentOf(name)).toBe(createHash('sha256').update(changed).digest('hex'));
      expect((await up.volume('info', `${name}.rawstor-partial`)).code).toBe(66);
    },
    180_000,
  );

  it('begins anew where it is not told to go on, and refuses to go on with what is of another size', async () => {
    await killedOnce(
      async () => (await usedBytes('anew.rawstor-partial')) > 4 * MiB,
      'import',
      'image.qcow2',
      'anew',
    );
    const other = await up.volume('import', 'image.qcow2', 'anew', '--resume', '--size', '200M');
    expect(other).toMatchObject({ code: 73 });
    expect(other.stderr).toContain('begin anew');
    let said = '';
    await until(async () => {
      const again = await up.volume('import', 'image.qcow2', 'anew');
      said = again.stderr;
      return again.code !== 75;
    });
    expect(said).toContain('removed what an earlier import has left');
    expect(await contentOf('anew')).toBe(createHash('sha256').update(bytes).digest('hex'));
  }, 180_000);
});

describe('an export that was killed', () => {
  const part = (name: string) => (existsSync(path(name)) ? statSync(path(name)).blocks * 512 : 0);

  it('goes on with an image of a snapshot', async () => {
    ok(await up.volume('snapshot', 'anew@one'));
    const note = path('out.raw.rawstor-partial.done');
    await killedOnce(() => existsSync(note), 'export', 'anew@one', path('out.raw'));
    expect(existsSync(path('out.raw'))).toBe(false);
    const { doneBytes } = JSON.parse(readFileSync(note, 'utf8'));
    expect(doneBytes).toBeGreaterThan(4 * MiB);
    // What is before is not looked at again: so it shows.
    const partial = readFileSync(path('out.raw.rawstor-partial'));
    partial[0]! ^= 1;
    writeFileSync(path('out.raw.rawstor-partial'), partial);
    const done = await up.volume('export', 'anew@one', path('out.raw'), '--resume');
    ok(done);
    expect(done.stderr).toContain('going on at');
    const got = readFileSync(path('out.raw'));
    got[0]! ^= 1;
    expect(got.equals(bytes)).toBe(true);
    expect(existsSync(note)).toBe(false);
    // Of another snapshot nothing is taken over.
    await killedOnce(() => existsSync(note), 'export', 'anew@one', path('out.raw'), '--force');
    ok(await up.volume('snapshot', 'anew@two'));
    const two = await up.volume('export', 'anew@two', path('out.raw'), '--resume', '--force');
    ok(two);
    expect(two.stderr).not.toContain('going on at');
    expect(hashOf(path('out.raw'))).toBe(createHash('sha256').update(bytes).digest('hex'));
    expect((await up.volume('export', 'anew', path('x'), '--resume')).code).toBe(64);
    expect((await up.volume('export', 'anew@one', '-', '--resume')).code).toBe(64);
  }, 180_000);

  it('goes on with a difference, and so does what applies it', async () => {
    ok(await up.volume('import', path('out.raw'), 'copy'));
    ok(await up.volume('snapshot', 'copy@two'));
    const io = ['write -P 5 0 20M', 'write -z -u 30M 4M', 'write -P 6 70M 10M'].flatMap((c) => ['-c', c]);
    await execa('qemu-io', ['-f', 'raw', ...io, up.uriOf('anew')]);
    ok(await up.volume('snapshot', 'anew@three'));
    const wanted = await contentOf('anew@three');
    const export_ = ['export', 'anew@three', '--since', 'two'];
    ok(await up.volume(...export_, path('whole.diff')));
    await killedOnce(() => part('cut.diff.rawstor-partial') > 8 * MiB, ...export_, path('cut.diff'));
    const done = await up.volume(...export_, path('cut.diff'), '--resume');
    ok(done);
    expect(done.stderr).toContain('going on at');
    // Its ranges are as in one that was made at a stretch.
    expect(statSync(path('cut.diff')).size).toBeGreaterThan(30 * MiB);

    const apply = ['import', '--apply', path('cut.diff'), 'copy'];
    const half = async () => (await usedBytes('copy')) > 80 * MiB + 4 * MiB;
    await killedOnce(half, ...apply);
    const applied = await json(...apply, '--resume');
    expect(applied.foundBytes).toBeGreaterThan(2 * MiB);
    expect(await contentOf('copy@three')).toBe(wanted);
    expect(await contentOf('copy')).toBe(wanted);
  }, 180_000);

  it('a difference that somebody has written over meanwhile is taken back, not gone on with', async () => {
    ok(await up.volume('snapshot', 'rollback', 'copy@two', '--force', '--no-safety'));
    ok(await up.volume('snapshot', 'rm', 'copy@three', '--force'));
    const apply = ['import', '--apply', path('cut.diff'), 'copy'];
    const names = async () => (await json('snapshot', 'ls', 'copy')).map((one: { name: string }) => one.name);
    await killedOnce(async () => (await names()).includes('applying-three'), ...apply);
    await until(async () => {
      const write = ['-f', 'raw', '-c', 'write -P 9 50M 4k', up.uriOf('copy')];
      return (await execa('qemu-io', write, { reject: false })).exitCode === 0;
    });
    const again = await up.volume(...apply, '--resume');
    ok(again);
    expect(again.stderr).toContain('taken back');
    expect(await contentOf('copy@three')).toBe(await contentOf('anew@three'));
  }, 180_000);
});
