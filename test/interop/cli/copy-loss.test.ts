import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ok } from './outcome.js';
import { begin, isAlive, UpCluster, until } from './programs.js';

/** The only OST loses power while something is copied into a volume: what was acknowledged and not flushed is gone, and the copy has to say so. */

const MiB = 2 ** 20;
let up: UpCluster;
const path = (name: string) => join(up.cwd, name);
const json = async (...args: string[]) => JSON.parse(ok(await up.volume(...args, '--output', 'json')));

beforeAll(async () => {
  up = await UpCluster.start(['--osts', '1']);
  writeFileSync(path('image.raw'), randomBytes(16 * MiB));
  await execa('qemu-img', ['convert', '-O', 'qcow2', 'image.raw', 'image.qcow2'], { cwd: up.cwd });
}, 120_000);

afterAll(() => up?.remove(), 60_000);

async function losePower(): Promise<void> {
  const pid = await up.ostPid(1);
  // What a failed sync leaves: the next start takes it for a loss, as another boot of the machine.
  writeFileSync(join(up.facts.dir, 'ost-1', 'chunks', 'lost-writes'), '');
  process.kill(pid, 'SIGKILL');
  await until(() => !isAlive(pid));
}

async function usedBytes(name: string): Promise<number> {
  const told = await up.volume('du', name, '--output', 'json');
  if (told.code !== 0) return 0;
  const [{ osts }] = JSON.parse(told.stdout) as [{ osts: { allocatedBytes: number }[] }];
  return osts[0]?.allocatedBytes ?? 0;
}

/** In the middle of a command that writes to a volume. */
async function losingPower(name: string, beyondBytes: number, ...args: string[]) {
  const child = begin('cli/rawstor-volume', [...args, '--rate', '3M'], { cwd: up.cwd });
  await until(async () => (await usedBytes(name)) > beyondBytes);
  await losePower();
  return await child;
}

it.each(['image.raw', 'image.qcow2'])(
  'an import of %s fails',
  async (image) => {
    const name = image.replace('.', '-');
    const made = await losingPower(
      `${name}.rawstor-partial`,
      2 * MiB,
      'import',
      image,
      name,
      '--replicas',
      '1',
    );
    expect(made.exitCode, made.stderr).toBe(74);
    expect(made.stderr).toContain('a part of what was written is lost');
    expect(made.stdout).toBe('');
    expect((await json('ls')).map((one: { name: string }) => one.name)).toEqual(['vm1']);
  },
  120_000,
);

it('a difference that is applied fails and is taken back; what was lost before is not taken for its own', async () => {
  ok(await up.volume('import', path('image.raw'), 'source', '--replicas', '1'));
  ok(await up.volume('import', path('image.raw'), 'copy', '--replicas', '1'));
  ok(await up.volume('snapshot', 'source@a'));
  ok(await up.volume('snapshot', 'copy@a'));
  writeFileSync(path('next.raw'), randomBytes(16 * MiB));
  ok(await up.volume('import', path('next.raw'), 'source', '--yes'));
  ok(await up.volume('snapshot', 'source@b'));
  ok(await up.volume('export', 'source@b', '--since', 'a', path('b.diff')));
  const apply = ['import', '--apply', path('b.diff'), 'copy'];
  const lost = await losingPower('copy', 16 * MiB + 2 * MiB, ...apply);
  expect(lost.exitCode, lost.stderr).toBe(74);
  expect(lost.stderr).toContain('copy is what it was at @a again');
  expect((await json('snapshot', 'ls', 'copy')).map((one: { name: string }) => one.name)).toEqual(['a']);
  ok(await up.volume('export', 'copy', path('out.raw')));
  await execa('cmp', ['image.raw', 'out.raw'], { cwd: up.cwd });

  // A writer that is killed, and then the power fails: whoever opens the volume next finds the loss.
  const writer = begin('cli/rawstor-volume', [...apply, '--rate', '3M'], { cwd: up.cwd });
  await until(async () => (await usedBytes('copy')) > 16 * MiB + 2 * MiB);
  writer.kill('SIGKILL');
  await writer;
  await losePower();
  let said = '';
  await until(async () => {
    const again = await up.volume(...apply);
    said = again.stderr;
    // The killed one's lease runs out first.
    expect([0, 75], said).toContain(again.code);
    return again.code === 0;
  });
  expect(said).toContain('had lost writes');
  ok(await up.volume('export', 'copy@b', path('out.raw'), '--force'));
  await execa('cmp', ['next.raw', 'out.raw'], { cwd: up.cwd });
}, 240_000);
