import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Outcome, ownLoopback, run, temporaryDirectory, UpCluster } from './programs.js';

const MiB = 1024 * 1024;
const sockets: Socket[] = [];
let cwd: string;
let host: string;
/** Takes connections and never says a word: as a server that hangs. */
let silent: Server;
let taken: string;

beforeAll(async () => {
  cwd = temporaryDirectory();
  host = ownLoopback();
  silent = createServer((socket) => sockets.push(socket)).listen(0, host);
  await once(silent, 'listening');
  taken = `${host}:${(silent.address() as AddressInfo).port}`;
});

afterAll(() => {
  for (const socket of sockets) socket.destroy();
  silent.close();
  rmSync(cwd, { recursive: true, force: true });
});

const rawstor = (...args: string[]) => run('cli/rawstor', args, { cwd });

function expectRefused(outcome: Outcome, code: number, said: RegExp): void {
  expect(outcome.code, outcome.stderr).toBe(code);
  expect(outcome.stderr).toMatch(said);
  expect(outcome.stdout).toBe('');
}

it('an MDS that takes connections and answers nothing ends commands', async () => {
  const commands = [['ls'], ['create', 'x', '--size', '1G'], ['attach', 'x'], ['rm', 'x', '--force']];
  const outcomes = commands.map((args) =>
    run('cli/rawstor-volume', [...args, '--location', taken, '--timeout', '1s'], { cwd }),
  );
  for (const outcome of await Promise.all(outcomes)) {
    expectRefused(outcome, 69, new RegExp(`${taken}: the peer sent no hello.*\\n  start it with`));
  }
}, 60_000);

describe('an address in use', () => {
  const cases: [role: string, args: string[]][] = [
    ['mgs', ['--dir', 'mgs', '--http-listen', '127.0.0.1:0']],
    ['mds', ['--dir', 'mds']],
    ['ost', ['--dir', 'ost', '--mds', '127.0.0.1:1']],
  ];
  it.each(cases)('ends serve %s', async (role, args) => {
    const outcome = await rawstor('serve', role, ...args, '--listen', taken);
    expectRefused(outcome, 75, new RegExp(`another program listens.*${taken}.*\\n  stop that program`));
  });
});

describe('a directory that cannot be made', () => {
  it('in a place that takes none', async () => {
    for (const args of [['up'], ['serve', 'mds', '--listen', `${host}:0`]]) {
      expectRefused(
        await rawstor(...args, '--dir', '/proc/x/y'),
        66,
        /cannot mkdir: no such file.*\/proc\/x/,
      );
    }
  });

  it('below a file', async () => {
    writeFileSync(join(cwd, 'file'), '');
    expectRefused(await rawstor('up', '--dir', 'file/x'), 64, /not a directory.*file/);
    expectRefused(await rawstor('serve', 'mgs', '--dir', 'file'), 64, /a directory is wanted.*file/);
  });

  const locked = temporaryDirectory();
  it.runIf(mount(locked))('on a file system that is read-only', async () => {
    try {
      execFileSync('mount', ['-o', 'remount,ro', locked]);
      expectRefused(await rawstor('up', '--dir', locked), 77, /read-only file system/);
      expectRefused(await rawstor('serve', 'mds', '--dir', join(locked, 'm')), 77, /read-only file system/);
    } finally {
      execFileSync('umount', [locked]);
    }
  });
});

describe('a configuration file', () => {
  const cases: [name: string, text: string, code: number, said: RegExp][] = [
    ['cut in a string', 'mds = ["127.0.0.1:1"]\n\n[serve-mds]\ndir = "md', 78, /bad\.toml:4/],
    ['cut in a list', 'mds = ["127.0.0.1:1",', 78, /bad\.toml:1/],
    ['cut in a section', 'mds = ["127.0.0.1:1"]\n[serve-m', 78, /bad\.toml:2/],
    ['of an unknown key', 'mdss = ["127.0.0.1:1"]', 78, /bad\.toml[\s\S]*mdss|mdss[\s\S]*bad\.toml/],
    ['of an unknown key in a section', '[serve-mds]\ndirr = "d"', 78, /dirr/],
    ['of a list that is none', 'mds = "127.0.0.1:1"', 78, /mds[\s\S]*bad\.toml|bad\.toml[\s\S]*mds/],
    ['of an address that is none', 'mds = ["somewhere"]', 78, /'somewhere' is not/],
    ['of noise', '\0\u0001\u0002', 78, /bad\.toml:1/],
  ];
  it.each(cases)('%s', async (_name, text, code, said) => {
    writeFileSync(join(cwd, 'bad.toml'), text);
    expectRefused(await rawstor('serve', 'mds', '-c', 'bad.toml'), code, said);
  });
});

describe('with a cluster', () => {
  const small = temporaryDirectory();
  const mounted = mount(small);
  let cluster: UpCluster;

  beforeAll(async () => {
    cluster = await UpCluster.start(['--osts', '1', '--volume', 'vm1:16M:1'], small);
  }, 120_000);

  afterAll(async () => {
    await cluster?.stop();
    if (mounted) execFileSync('umount', ['-l', small]);
    rmSync(small, { recursive: true, force: true });
  });

  const names = async () => {
    const { stdout } = await cluster.volume('ls', '--output', 'jsonl');
    return stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line).name);
  };

  it('an address in use ends serve nbd', async () => {
    const args = ['serve', 'nbd', '--listen', taken, '--mds', cluster.facts.mds, '--control', join(cwd, 'c')];
    expectRefused(
      await rawstor(...args),
      75,
      new RegExp(`another program listens.*${taken}.*\\n  stop that program`),
    );
  });

  it('status still tells who is there when the MDS does not answer', async () => {
    const mds = cluster.facts.pids.mds!;
    process.kill(mds, 'SIGSTOP');
    try {
      const status = (...args: string[]) => cluster.rawstor('status', '--timeout', '2s', ...args);
      const { code, stdout } = await status('--output', 'json');
      expect(code).toBe(75);
      const found = JSON.parse(stdout);
      expect(found).toMatchObject({ health: 'down', volumes: null });
      const health = (role: string) =>
        found.servers.find((row: { role: string }) => row.role === role)?.health;
      expect([health('mds'), health('mgs')]).toEqual(['down', 'up']);
      expect((await status()).stdout).toMatch(/^ost +(up|late) [\s\S]*no MDS answers/m);
    } finally {
      process.kill(mds, 'SIGCONT');
    }
  }, 60_000);

  // Only root may mount a small disk.
  it.runIf(mounted)('an import onto a full disk removes what it made, and space is there again', async () => {
    const image = join(cwd, 'large.raw');
    writeFileSync(image, Buffer.alloc(160 * MiB, 3));
    const made = await cluster.volume('import', image, 'large', '--replicas', '1');
    expectRefused(made, 73, /NO_SPACE/);
    expect(made.stderr).toContain('removed the half-made volume large');
    expect(await names()).toEqual(['vm1']);
    writeFileSync(image, Buffer.alloc(16 * MiB, 4));
    const fits = await cluster.volume('import', image, 'vm1', '--force');
    expect(fits, fits.stderr).toMatchObject({ code: 0 });
    expect((await cluster.volume('export', 'vm1', join(cwd, 'back.raw'))).code).toBe(0);
    expect(readFileSync(join(cwd, 'back.raw')).equals(readFileSync(image))).toBe(true);
  });
});

function mount(directory: string): boolean {
  mkdirSync(directory, { recursive: true });
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=96m', 'tmpfs', directory], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
