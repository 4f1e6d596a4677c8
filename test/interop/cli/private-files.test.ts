import { chmodSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { begin, ownLoopback, temporaryDirectory, UpCluster, until } from './programs.js';

/** What servers store is for their own user, whatever the umask they were started with. */

const MINUTES = 60_000;
const OTHERS = 0o077;
/** Of what has gone meanwhile, as temporary files do: none. */
const modeOf = (path: string) => (statSync(path, { throwIfNoEntry: false })?.mode ?? 0) & 0o777;
let umask: number;
const cleanUps: (() => unknown)[] = [];

beforeAll(() => {
  umask = process.umask(0o022);
});
afterAll(() => process.umask(umask));
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

/** Which files and directories below (sockets left out) others may do anything with. */
function openBelow(directory: string): string[] {
  const all = readdirSync(directory, { recursive: true, withFileTypes: true });
  return all
    .filter((entry) => entry.isFile() || entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => (modeOf(path) & OTHERS) !== 0);
}

/** A directory that others could enter. */
function commonDirectory(): string {
  const cwd = temporaryDirectory();
  cleanUps.push(() => rmSync(cwd, { recursive: true, force: true }));
  chmodSync(cwd, 0o755);
  return cwd;
}

async function serve(cwd: string, ...args: string[]): Promise<string> {
  const child = begin('cli/rawstor', ['serve', ...args], { cwd });
  cleanUps.push(async () => {
    child.kill('SIGTERM');
    await child;
  });
  let said = '';
  child.stderr!.on('data', (bytes: Buffer) => {
    said += bytes.toString();
  });
  const ended = child.then(() => Promise.reject(new Error(`it ended: ${said}`)));
  await Promise.race([until(() => / serves|serving|ready/.test(said)), ended]);
  return said;
}

describe('files of servers', () => {
  it(
    '`rawstor up` makes all of its directory for its user only, data and secrets included',
    async () => {
      const cwd = commonDirectory();
      const up = await UpCluster.start(['--osts', '1', '--volume', 'vm1:16M'], cwd);
      cleanUps.push(() => up.stop());
      await execa('qemu-io', ['-f', 'raw', '-c', 'write -f 0 64k', up.uriOf('vm1')]);
      const chunks = readdirSync(join(up.facts.dir, 'ost-1/chunks'), { recursive: true });
      expect(chunks).toContainEqual(expect.stringMatching(/0\.1$/));
      expect(modeOf(up.facts.dir)).toBe(0o700);
      expect(readdirSync(up.facts.dir)).toEqual(expect.arrayContaining(['mds', 'ost-1', 's3.env', 'logs']));
      expect(openBelow(up.facts.dir)).toEqual([]);
      expect(up.said()).not.toContain('other users');
    },
    2 * MINUTES,
  );

  it(
    'a server makes its directory so, and leaves sockets, and directories above, to the umask',
    async () => {
      const cwd = commonDirectory();
      const listen = `unix:${join(cwd, 'mds.sock')}`;
      const said = await serve(cwd, 'mds', '--dir', 'above/mds', '--listen', listen);
      expect(said).not.toContain('other users');
      expect(modeOf(join(cwd, 'above/mds'))).toBe(0o700);
      expect(openBelow(join(cwd, 'above/mds'))).toEqual([]);
      expect(modeOf(join(cwd, 'above'))).toBe(0o755);
      expect(modeOf(join(cwd, 'mds.sock'))).toBe(0o755);
      await serve(
        cwd,
        'mgs',
        '--dir',
        'mgs',
        '--listen',
        `${ownLoopback()}:0`,
        '--http-listen',
        `${ownLoopback()}:0`,
      );
      expect(modeOf(join(cwd, 'mgs'))).toBe(0o700);
      expect(openBelow(join(cwd, 'mgs'))).toEqual([]);
    },
    2 * MINUTES,
  );

  it(
    'a directory that others can come at stays as it is, with a word in the log',
    async () => {
      const cwd = commonDirectory();
      mkdirSync(join(cwd, 'mds'));
      const said = await serve(cwd, 'mds', '--dir', 'mds', '--listen', `${ownLoopback()}:0`);
      expect(said).toContain('other users of this machine can read');
      expect(said).toContain(`chmod 700 ${join(cwd, 'mds')}`);
      expect(modeOf(join(cwd, 'mds'))).toBe(0o755);
    },
    2 * MINUTES,
  );
});
