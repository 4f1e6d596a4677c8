import { existsSync, renameSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, expect, it } from 'vitest';
import { begin, run, UpCluster, until } from './programs.js';
import { Servers } from './servers.js';

/** What commands and gateways do while the MDS is away. */

const MINUTES = 60_000;
const closers: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
}, MINUTES);

async function servers(osts = 0): Promise<Servers> {
  const made = await Servers.start(osts);
  closers.push(() => made.remove());
  return made;
}

/** A program that goes on, what it has said, and whether it has ended. */
function watched(program: string, args: string[], cwd: string) {
  const child = begin(program, args, { cwd });
  let said = '';
  child.stderr!.on('data', (bytes: Buffer) => {
    said += bytes.toString();
  });
  closers.push(async () => {
    child.kill('SIGKILL');
    await child;
  });
  return { child, said: () => said };
}

const seconds = (sinceMs: number) => (Date.now() - sinceMs) / 1000;

it(
  'a command waits for an MDS as long as --timeout says, and without it not at all',
  async () => {
    const cluster = await servers();
    await cluster.kill('mds');
    let beganMs = Date.now();
    expect(await cluster.volume('ls')).toMatchObject({
      code: 69,
      stderr: expect.stringMatching(/no MDS answers.*7771/),
    });
    expect(seconds(beganMs)).toBeLessThan(5);
    beganMs = Date.now();
    const late = await cluster.volume('ls', '--timeout', '3s');
    expect(late).toMatchObject({
      code: 69,
      stderr: expect.stringMatching(/waiting for up to 3 s[\s\S]*no MDS answers/),
    });
    expect(seconds(beganMs)).toBeGreaterThan(2.5);
    // By its own address and by the MGS alike.
    const places = [
      ['-c', 'cluster.toml'],
      ['--location', `${cluster.host}:7770`],
      ['--location', `${cluster.host}:7771`],
    ];
    const asked = places.map((place) =>
      watched('cli/rawstor-volume', ['ls', ...place, '--timeout', '40s'], cluster.cwd),
    );
    await until(() => asked.every(({ said }) => said().includes('waiting for up to 40 s')));
    await cluster.serveMds();
    for (const { child, said } of asked) expect((await child).exitCode, said()).toBe(0);
  },
  2 * MINUTES,
);

it(
  'a gateway waits for its MDS, says so, and serves as soon as it is there',
  async () => {
    const cluster = await servers(1);
    await cluster.volume('create', 'v', '--size', '64M', '--replicas', '1');
    await cluster.kill('mds');
    const socket = join(cluster.cwd, 'nbd.sock');
    const args = ['serve', 'nbd', '-c', 'cluster.toml', '--listen', `unix:${socket}`];
    const dead = await cluster.rawstor('serve', 'nbd', '--listen', `unix:${socket}`, '--timeout', '1s');
    expect(dead).toMatchObject({ code: 69, stderr: expect.stringMatching(/cannot be reached.*7771/) });
    const gateway = watched('cli/rawstor', [...args, '--timeout', '2m'], cluster.cwd);
    await until(() => gateway.said().includes('the MDS is away: waiting for it'));
    await until(async () => /^nbd +waiting/m.test((await cluster.rawstor('status')).stdout));
    const { stdout } = await cluster.rawstor('status');
    expect(stdout).toMatch(/^nbd on .* waits for the MDS$/m);
    expect(existsSync(socket)).toBe(false);
    await cluster.serveMds();
    await until(() => gateway.said().includes('"ready"'));
    expect(gateway.said().match(/waiting for it/g)).toHaveLength(1);
    await execa('qemu-io', ['-f', 'raw', '-c', 'write -P 1 0 64k', `nbd+unix:///v?socket=${socket}`]);
    await until(async () => /^nbd +up/m.test((await cluster.rawstor('status')).stdout));
    expect((await cluster.rawstor('status')).stdout.match(/^nbd /gm)).toHaveLength(1);
  },
  2 * MINUTES,
);

it('a waiting gateway ends at once when it is told to', async () => {
  const cluster = await servers();
  await cluster.kill('mds');
  const socket = `unix:${join(cluster.cwd, 'nbd.sock')}`;
  const args = ['serve', 'nbd', '-c', 'cluster.toml', '--listen', socket, '--timeout', '2m'];
  const gateway = watched('cli/rawstor', args, cluster.cwd);
  await until(() => gateway.said().includes('waiting for it'));
  const beganMs = Date.now();
  gateway.child.kill('SIGTERM');
  expect((await gateway.child).exitCode).toBe(0);
  expect(seconds(beganMs)).toBeLessThan(5);
});

it(
  'an address where something else answers is not waited for',
  async () => {
    const cluster = await servers(1);
    const other = createServer((socket) => socket.on('error', () => {}).end('no '.repeat(100)));
    await new Promise<void>((resolve) => other.listen(0, cluster.host, resolve));
    closers.push(async () => other.close());
    const foreign = `${cluster.host}:${(other.address() as AddressInfo).port}`;
    const listen = ['--listen', `unix:${join(cluster.cwd, 'nbd.sock')}`];
    const beganMs = Date.now();
    for (const [address, said] of [
      [foreign, 'wrong magic'],
      [`${cluster.host}:7777`, 'is an ost, not an MGS or MDS'],
    ] as const) {
      const refused = await cluster.rawstor('serve', 'nbd', ...listen, '--mds', address, '--timeout', '1m');
      const asked = ['ls', '--location', address, '--timeout', '1m'];
      for (const outcome of [refused, await run('cli/rawstor-volume', asked, { cwd: cluster.cwd })]) {
        expect(outcome.code, outcome.stderr).toBe(69);
        expect(outcome.stderr).toContain(said);
      }
    }
    expect(seconds(beganMs)).toBeLessThan(20);
  },
  2 * MINUTES,
);

it(
  'up starts a gateway again in time for its guests, however long the MDS was away',
  async () => {
    const cluster = await UpCluster.start(['--osts', '1', '--volume', 'vm1:64M:1']);
    closers.push(() => cluster.remove());
    const { dir, pids } = cluster.facts;
    // An MDS without its directory is refused, again and again.
    renameSync(join(dir, 'mds'), join(dir, 'mds-away'));
    process.kill(pids.mds!, 'SIGKILL');
    process.kill(pids.nbd!, 'SIGKILL');
    await until(async () => /^nbd +waiting/m.test((await cluster.rawstor('status')).stdout));
    await new Promise((resolve) => setTimeout(resolve, 8000));
    expect(cluster.said().match(/nbd has ended/g)).toHaveLength(1);
    expect(cluster.said()).toMatch(/nbd has ended.*again in 0\.1 s/);
    renameSync(join(dir, 'mds-away'), join(dir, 'mds'));
    const beganMs = Date.now();
    await until(() => cluster.said().includes('nbd is back'));
    expect(seconds(beganMs)).toBeLessThan(20);
    await execa('qemu-io', ['-f', 'raw', '-c', 'read 0 64k', cluster.uriOf('vm1')]);
  },
  2 * MINUTES,
);

it('an explicit configuration file is used, whatever the environment says, and not beside a location', async () => {
  const cluster = await servers();
  const env = { RAWSTOR_LOCATION: '127.0.0.1:1' };
  const ls = (...args: string[]) => run('cli/rawstor-volume', ['ls', ...args], { cwd: cluster.cwd, env });
  expect((await ls()).code).toBe(69);
  const named = await ls('-c', 'cluster.toml');
  expect(named.code, named.stderr).toBe(0);
  const both = await ls('-c', 'cluster.toml', '--location', `${cluster.host}:7771`);
  expect(both).toMatchObject({
    code: 64,
    stderr: expect.stringMatching(/--config.*--location|--location.*--config/),
  });
});
