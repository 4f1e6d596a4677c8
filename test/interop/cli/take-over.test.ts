import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { RawNbd, request } from '../../fixtures/nbd-client.js';
import { begin, UpCluster, until } from './programs.js';

/** Gateways that take a volume from each other, as users see it. */

let cluster: UpCluster;
beforeAll(async () => {
  cluster = await UpCluster.start(['--volume', 'v:64M']);
}, 120_000);
afterAll(() => cluster.remove(), 60_000);

const WRITE = 1;
const ERROR = 0x8001;
const ESHUTDOWN = 108;
const block = (byte: number) => Buffer.alloc(4096, byte);

async function read(client: RawNbd): Promise<number> {
  client.send(request(0, 0, 4096));
  const { data, errno } = await client.simpleReply(4096);
  expect(errno).toBe(0);
  return data[0]!;
}

function serve(...args: string[]) {
  const socket = join(cluster.cwd, `${args.length}.sock`);
  const child = begin('cli/rawstor-volume', ['attach', 'v', '--socket', socket, ...args], {
    cwd: cluster.cwd,
  });
  let said = '';
  child.stderr!.on('data', (bytes: Buffer) => {
    said += bytes.toString();
  });
  return { child, socket, said: () => said };
}

it('--force takes it; the first answers with FENCED and acknowledges nothing more', async () => {
  const first = await RawNbd.open(`unix:${cluster.facts.dir}/nbd.sock`, { name: 'v', structured: true });
  first.send(request(WRITE, 0, 4096), block(1));
  expect((await first.simpleReply()).errno).toBe(0);

  const refused = serve();
  expect((await refused.child).exitCode).toBe(75);
  expect(refused.said()).toMatch(/open for writing by rawstor-nbd/);

  const second = serve('--force');
  await until(() => existsSync(second.socket));
  const there = await RawNbd.open(`unix:${second.socket}`, { name: 'v' });
  // Closes when the server does, as other clients do.
  void there.closed.then(() => there.destroy());
  expect(await read(there)).toBe(1);
  expect(await there.simple(WRITE, 0, 4096, block(2))).toBe(0);

  for (let i = 0; i < 3; i++) {
    first.send(request(WRITE, 0, 4096), block(9));
    const { type, payload } = await first.chunk();
    expect(type).toBe(ERROR);
    expect(payload.readUInt32BE(0)).toBe(ESHUTDOWN);
    expect(payload.subarray(6).toString()).toContain('[FENCED]');
  }
  expect(await read(there)).toBe(2);

  // A gateway for one volume has nothing left to do without it.
  const third = serve('--force', '--foreground');
  expect((await second.child).exitCode).toBe(75);
  expect(second.said()).toContain('[FENCED]');
  await until(() => existsSync(third.socket));
  const last = await RawNbd.open(`unix:${third.socket}`, { name: 'v' });
  expect(await read(last)).toBe(2);
  last.destroy();
  first.destroy();
  there.destroy();
  third.child.kill('SIGTERM');
  expect((await third.child).exitCode).toBe(0);
}, 120_000);

it('acknowledge-loss says what it did', async () => {
  const outcome = await cluster.volume('acknowledge-loss', 'v');
  expect(outcome).toMatchObject({ code: 0, stdout: 'v has no mark of a loss\n' });
  expect(await cluster.volume('acknowledge-loss', 'none')).toMatchObject({ code: 66 });
});

it('an MDS that has lost its directory is made anew while the rest of the cluster runs', async () => {
  const dir = join(cluster.facts.dir, 'mds');
  // What was fenced in this gateway is done with.
  expect(await cluster.volume('detach', 'v', '--force')).toMatchObject({ code: 0 });
  const open = await RawNbd.open(`unix:${cluster.facts.dir}/nbd.sock`, { name: 'v' });
  expect(await open.simple(WRITE, 4096, 4096, block(5))).toBe(0);
  process.kill(cluster.facts.pids.mds!, 'SIGKILL');
  rmSync(dir, { recursive: true });
  await until(() => /there is no MDS in this directory/.test(cluster.said()));
  // The supervisor may hold the lock at that moment.
  await until(async () => (await cluster.rawstor('mds', 'rebuild', '--dir', dir)).code === 0);
  // The volume is open all the while.
  expect(await open.simple(WRITE, 8192, 4096, block(6))).toBe(0);
  await until(async () => (await cluster.volume('info', 'v')).code === 0);
  expect(await open.simple(WRITE, 8192, 4096, block(7))).toBe(0);
  open.destroy();
}, 120_000);
