import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { smallDisk } from '../../fixtures/small-disk.js';
import { ownLoopback, programArgs, temporaryDirectory, until } from './programs.js';

/** A server whose log cannot be written. */

const small = smallDisk('size=1m');
const cwd = temporaryDirectory();
afterEach(() => rmSync(cwd, { recursive: true, force: true }));

function serve(log: string) {
  const host = ownLoopback();
  const stderr = openSync(log, 'a');
  const args = ['--listen', `${host}:7770`, '--http-listen', `${host}:7772`, '--dir', join(cwd, 'mgs')];
  const child = spawn(process.execPath, [...programArgs('cli/rawstor'), 'serve', 'mgs', ...args], {
    stdio: ['ignore', 'ignore', stderr],
  });
  closeSync(stderr);
  const answers = async () => (await fetch(`http://${host}:7772/`).catch(() => null))?.ok === true;
  return { child, answers };
}

it('starts, serves and ends cleanly with a log that was never writable', async () => {
  const { child, answers } = serve('/dev/full');
  await until(async () => child.exitCode !== null || (await answers()));
  expect(child.exitCode).toBe(null);
  child.kill('SIGTERM');
  expect(await once(child, 'exit')).toEqual([0, null]);
}, 60_000);

// Only root may mount a small disk.
it.runIf(small.mounted)(
  'goes on when the disk of its log fills up',
  async () => {
    const log = join(small.path, 'mgs.log');
    const { child, answers } = serve(log);
    await until(async () => child.exitCode !== null || (await answers()));
    const filler = join(small.path, 'filler');
    expect(() => writeFileSync(filler, Buffer.alloc(4 << 20))).toThrow('ENOSPC');
    // What is left of the page that the log ends in.
    expect(() => writeFileSync(log, Buffer.alloc(8192, 'x'), { flag: 'a' })).toThrow('ENOSPC');
    child.kill('SIGTERM');
    expect(await once(child, 'exit')).toEqual([0, null]);
    expect(readFileSync(log, 'utf8')).not.toContain('"stopping"');
  },
  60_000,
);
