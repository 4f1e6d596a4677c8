import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DescriptorSocket } from '../../../src/io/index.js';
import { FrontEnd } from '../../fixtures/vhost/connection.js';
import { writeAndReadBack } from '../../fixtures/vhost/round-trip.js';
import { begin, isAlive, ownLoopback, run, temporaryDirectory, until } from './programs.js';

const MINUTES = 60_000;
let cwd: string;
let host: string;
let running: Server[];

type Child = ReturnType<typeof begin>;

interface Server {
  readonly child: Child;
  readonly log: () => string;
}

beforeEach(() => {
  cwd = temporaryDirectory();
  host = ownLoopback();
  running = [];
});

afterEach(async () => {
  for (const { child } of running.reverse()) {
    child.kill('SIGTERM');
    await child;
  }
  rmSync(cwd, { recursive: true, force: true });
}, MINUTES);

/** Starts a server and waits until it says that it is ready. */
async function serve(program: string, args: string[], env?: Record<string, string>): Promise<Server> {
  const child = begin(program, args, env === undefined ? { cwd } : { cwd, env });
  let log = '';
  child.stderr!.on('data', (bytes: Buffer) => {
    log += bytes.toString();
  });
  const server = { child, log: () => log };
  running.push(server);
  await until(() => log.includes('"ready"') || child.exitCode !== null);
  expect(log).toContain('"ready"');
  return server;
}

async function end(server: Server, signal: NodeJS.Signals = 'SIGTERM'): Promise<number | undefined> {
  running.splice(running.indexOf(server), 1);
  server.child.kill(signal);
  return (await server.child).exitCode;
}

const volume = (...args: string[]) => run('cli/rawstor-volume', args, { cwd });

describe('servers of their own', () => {
  it(
    'make a cluster from a configuration file, and end cleanly',
    async () => {
      const socket = join(cwd, 'nbd.sock');
      writeFileSync(
        join(cwd, 'cluster.toml'),
        `
mgs = ["${host}:7770"]
mds = ["${host}:7771"]

[gateway]
nbd = ["unix:${socket}"]
control = "${cwd}/control.sock"

[serve-mgs]
dir = "mgs"
listen = ["${host}:7770"]
http-listen = "${host}:7772"

[serve-mds]
dir = "mds"
listen = ["${host}:7771"]

[serve-ost]
dir = "ost"
listen = ["${host}:7777"]
labels = { rack = "r1", host = "file" }

[serve-nbd]
listen = ["unix:${socket}"]
control = "${cwd}/control.sock"
`,
      );
      const config = ['-c', 'cluster.toml'];
      const mgs = await serve('mgs/main', config);
      const mds = await serve('mds/main', config);
      const ost = await serve('ost/main', [...config, '--label', 'host=flag']);
      const nbd = await serve('nbd-server/main', config);
      const list = ['ost', 'ls', '--output', 'json', ...config];
      await until(async () => JSON.parse((await run('cli/rawstor', list, { cwd })).stdout).length === 1);
      const [row] = JSON.parse((await run('cli/rawstor', list, { cwd })).stdout);
      expect(row.labels).toMatchObject({ rack: 'r1', host: 'flag' });
      const made = await volume('create', 'v', '--size', '64M', '--replicas', '1', ...config);
      expect(made, made.stderr).toMatchObject({ code: 0 });
      const uri = (await volume('attach', 'v', ...config)).stdout.trim();
      await execa('qemu-io', ['-f', 'raw', '-c', 'write -P 4 0 64k', uri]);
      expect((await volume('detach', 'v', ...config)).code).toBe(0);
      // A second server on the same directory, and on the same address.
      const twin = await run('ost/main', [...config, '--listen', `${host}:7001`], { cwd });
      expect(twin.code).toBe(75);
      expect(twin.stderr).toContain(`process ${ost.child.pid}`);
      const address = await run('ost/main', [...config, '--dir', 'ost2'], { cwd });
      expect(address.code, address.stderr).toBe(75);
      expect(address.stderr).toContain(`${host}:7777`);
      expect(await end(nbd)).toBe(0);
      expect(existsSync(socket)).toBe(false);
      expect(existsSync(join(cwd, 'control.sock'))).toBe(false);
      expect(await end(ost, 'SIGINT')).toBe(0);
      expect(await end(mds)).toBe(0);
      expect(await end(mgs)).toBe(0);
    },
    3 * MINUTES,
  );

  it(
    'serve an OST, a gateway and the metadata in one process',
    async () => {
      const socket = join(cwd, 'nbd.sock');
      const node = await serve('cli/rawstor', [
        ...['serve', 'node', '--dir', 'node', '--with-mds', '--listen', `${host}:0`],
        ...[
          '--mds-listen',
          `${host}:7771`,
          '--nbd-listen',
          `unix:${socket}`,
          '--nbd-listen',
          `${host}:10809`,
        ],
      ]);
      const at = ['--location', `${host}:7771`];
      await until(
        async () => (await volume('create', 'v', '--size', '64M', '--replicas', '1', ...at)).code === 0,
      );
      await execa('qemu-io', ['-f', 'raw', '-c', 'write -P 6 0 1M', `nbd+unix:///v?socket=${socket}`]);
      const read = await execa('qemu-io', ['-f', 'raw', '-c', 'read -P 6 0 1M', `nbd://${host}/v`]);
      expect(read.stdout).not.toContain('verification failed');
      expect(await end(node)).toBe(0);
      expect(existsSync(socket)).toBe(false);
    },
    2 * MINUTES,
  );

  it(
    'serve guests by vhost-user beside an OST, also with a volume that comes later, until they are stopped',
    async () => {
      const node = await serve('cli/rawstor', [
        ...['serve', 'node', '--dir', 'node', '--with-mds', '--listen', `${host}:0`],
        ...['--mds-listen', `${host}:7771`, '--vhost', 'v', '--vhost-dir', cwd],
      ]);
      const at = ['--location', `${host}:7771`];
      const socket = join(cwd, 'v.vhost');
      await until(
        async () => (await volume('create', 'v', '--size', '64M', '--replicas', '1', ...at)).code === 0,
      );
      await until(async () => existsSync(socket));
      const front = new FrontEnd(DescriptorSocket.connect(socket));
      await writeAndReadBack(front);
      expect(await end(node)).toBe(0);
      front.close();
      expect(existsSync(socket)).toBe(false);
      const again = await serve('cli/rawstor', [
        ...['serve', 'node', '--dir', 'node', '--with-mds', '--listen', `${host}:0`],
        ...['--mds-listen', `${host}:7771`, '--nbd-listen', `unix:${join(cwd, 'nbd.sock')}`],
      ]);
      const uri = `nbd+unix:///v?socket=${join(cwd, 'nbd.sock')}`;
      const read = await execa('qemu-io', ['-f', 'raw', '-c', 'read -P 7 4k 4k', uri]);
      expect(read.stdout).not.toContain('verification failed');
      expect(await end(again)).toBe(0);
    },
    2 * MINUTES,
  );

  it(
    'tell systemd when they are ready and when they stop',
    async () => {
      // What systemd does: a datagram socket that only takes.
      const listener = execa(
        'python3',
        [
          '-uc',
          `import socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind("notify.sock")
print("listening")
while True: print(s.recv(4096).decode())`,
        ],
        { cwd, reject: false },
      );
      let told = '';
      listener.stdout.on('data', (bytes: Buffer) => {
        told += bytes.toString();
      });
      try {
        await until(() => told.includes('listening'));
        const env = { NOTIFY_SOCKET: join(cwd, 'notify.sock') };
        const args = ['--dir', 'mgs', '--listen', `${host}:0`, '--http-listen', `${host}:0`];
        const mgs = await serve('mgs/main', args, env);
        await until(() => told.includes('READY=1'));
        expect(told).toContain(`MAINPID=${mgs.child.pid}`);
        expect(await end(mgs)).toBe(0);
        await until(() => told.includes('STOPPING=1'));
      } finally {
        listener.kill();
        await listener;
      }
    },
    2 * MINUTES,
  );

  it('end with the process that forked them', async () => {
    const parent = join(cwd, 'parent.mjs');
    const { programArgs } = await import('./programs.js');
    const [file, ...loader] = programArgs('mgs/main').reverse();
    writeFileSync(
      parent,
      `import { fork } from 'node:child_process';
const args = ['--dir', 'mgs', '--listen', '${host}:0', '--http-listen', '${host}:0'];
const child = fork(${JSON.stringify(file)}, args, { execArgv: ${JSON.stringify(loader.reverse())}, stdio: 'ignore' });
process.stdout.write(child.pid + '\\n');
child.on('message', (message) => process.stdout.write(JSON.stringify(message) + '\\n'));`,
    );
    const process = execa('node', [parent], { cwd, reject: false });
    let said = '';
    process.stdout.on('data', (bytes: Buffer) => {
      said += bytes.toString();
    });
    await until(() => said.includes('"ready"'));
    const pid = Number(said.split('\n')[0]);
    expect(isAlive(pid)).toBe(true);
    process.kill('SIGKILL');
    await process;
    await until(() => !isAlive(pid));
  });
});

describe('errors of servers', () => {
  it.each([
    [['serve', 'ost', '--mds', '127.0.0.1:1'], 64, /--dir is missing[\s\S]*\[serve-ost\]/],
    [['serve', 'ost', '--dir', 'd'], 64, /--mds is missing[\s\S]*`mds = \[\.\.\.\]` in the/],
    [['serve', 'node'], 64, /--dir is missing\W+USAGE\W+give --dir\n/],
    [['serve', 'nbd', '--listen', 'unix:/tmp/x', '--mds', '127.0.0.1:1'], 69, /127\.0\.0\.1:1/],
    [['serve', 'node', '--dir', 'd', '--nbd-listen', 'unix:/tmp/x'], 64, /--mds is missing/],
    [['serve', 'ost', '--dir', 'd', '--listen', 'x'], 64, /'x' is not an address/],
    [['serve', 'ost', '--dir', 'd', '--label', 'x'], 64, /'x' is not a label/],
    [['serve', 'ost', '--dir', 'd', '--pool-size', '1'], 64, /--pool-size[\s\S]*16 MiB/],
    [['serve', 'nbd', '--pool-size', '1P'], 64, /--pool-size[\s\S]*64 GiB/],
    [
      ['serve', 'mds', '--dir', 'd', '--listen', 'unix:/no/where.sock'],
      66,
      /no directory[\s\S]*mkdir -p \/no\n/,
    ],
    [
      ['serve', 'mds', '--dir', 'd', '--listen', `unix:/${'x'.repeat(120)}`],
      64,
      /too long for a Unix socket/,
    ],
    [['serve', 'disk'], 64, /unknown command 'disk'/],
  ] as const)('%j', async (args, code, said) => {
    const outcome = await run('cli/rawstor', args, { cwd });
    expect(outcome.code, outcome.stderr).toBe(code);
    expect(outcome.stderr).toMatch(said);
  });

  it('refuse a directory that is something else', async () => {
    writeFileSync(join(cwd, 'mine.txt'), 'mine');
    const outcome = await run('cli/rawstor', ['serve', 'mds', '--dir', '.', '--listen', `${host}:0`], {
      cwd,
    });
    expect(outcome.code).toBe(78);
    expect(outcome.stderr).toContain('mine.txt');
    expect(readFileSync(join(cwd, 'mine.txt'), 'utf8')).toBe('mine');
  });
});
