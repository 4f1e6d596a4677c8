import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ok } from './outcome.js';
import { begin, programArgs, UpCluster, until } from './programs.js';

/** Files and pipes that exports are written to. */

const MiB = 2 ** 20;
let up: UpCluster;
const path = (name: string) => join(up.cwd, name);
const inBackup = () => readdirSync(path('backup')).sort();

beforeAll(async () => {
  up = await UpCluster.start(['--osts', '1', '--volume', 'other:64M:1']);
  writeFileSync(path('image.raw'), randomBytes(16 * MiB));
  ok(await up.volume('import', path('image.raw'), 'vm1', '--replicas', '1'));
  ok(await up.volume('snapshot', 'vm1@a'));
  ok(await up.shell('mkdir backup'));
}, 120_000);

afterAll(() => up?.remove(), 60_000);

it.each([
  { way: 'raw', more: ['--rate', '4M'] },
  { way: 'resumed', more: ['--rate', '4M', '--resume'] },
])(
  'one export at a time makes a file: $way',
  async ({ way, more }) => {
    const file = path(`backup/${way}`);
    const args = ['export', 'vm1@a', file, ...more];
    const first = begin('cli/rawstor-volume', args, { cwd: up.cwd });
    await until(() => inBackup().includes(`${way}.rawstor-partial`));
    const second = await up.volume(...args);
    expect(second, second.stderr).toMatchObject({ code: 75 });
    expect(second.stderr).toContain('another export to this file');
    const { exitCode, stderr } = await first;
    expect(exitCode, stderr).toBe(0);
    await execa('cmp', [path('image.raw'), file]);
    expect(inBackup().filter((name) => name.startsWith(way))).toEqual([way]);
  },
  60_000,
);

it('qemu-img writes files of any name', async () => {
  ok(await up.shell('$VOLUME export vm1@a nbd:x:y.qcow2 --format qcow2'));
  await execa('qemu-img', ['compare', '-f', 'qcow2', '-F', 'raw', './nbd:x:y.qcow2', 'image.raw'], {
    cwd: up.cwd,
  });
}, 60_000);

it.each(['vm1', 'vm1@a'])(
  'an export of %s into a pipe that nobody reads ends at a signal, and gives the volume back',
  async (ref) => {
    const { RAWSTOR_LOCATION: _, ...env } = process.env;
    const args = [...programArgs('cli/rawstor-volume'), 'export', ref, '-'];
    const child = spawn(process.execPath, args, { cwd: up.cwd, env, stdio: ['ignore', 'pipe', 'ignore'] });
    const ended = new Promise((resolve) => child.on('exit', resolve));
    child.stdout.once('readable', () => {});
    const filled = async () => {
      child.stdout.read(0);
      return child.stdout.readableLength > 0;
    };
    await until(filled);
    // The rest of it waits in the pipe by then.
    await new Promise((resolve) => setTimeout(resolve, 500));
    child.kill('SIGTERM');
    const late = new Promise((resolve) => setTimeout(resolve, 10_000, 'goes on'));
    const how = await Promise.race([ended, late]);
    child.kill('SIGKILL');
    expect(how).toBe(143);
    const { lease, clean } = JSON.parse(ok(await up.volume('info', 'vm1', '--output', 'json')));
    expect({ lease, clean }).toEqual({ lease: null, clean: true });
  },
  60_000,
);
