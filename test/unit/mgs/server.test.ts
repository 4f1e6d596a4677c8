import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Registration } from '../../../src/cli/gateway/registration.js';
import { ControlLink } from '../../../src/client/index.js';
import { systemClock } from '../../../src/common/clock.js';
import { silentLogger } from '../../../src/common/log.js';
import { GiB, MiB } from '../../../src/common/units.js';
import { createIo, type Io } from '../../../src/io/index.js';
import { startMds } from '../../../src/mds/index.js';
import { type RunningMgs, startMgs } from '../../../src/mgs/index.js';
import type { ServerInfo } from '../../../src/protocol/index.js';
import { TestClient, until } from '../mds/processes.js';
import { failure, testId } from '../mds/support.js';

let root: string;
let io: Io;
let env: { io: Io; clock: typeof systemClock; log: typeof silentLogger };
let closers: (() => Promise<void>)[];

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'rawstor-mgs-'));
  io = createIo({ poolBytes: 16 * MiB });
  env = { io, clock: systemClock, log: silentLogger };
  closers = [];
});
afterEach(async () => {
  for (const close of closers.reverse()) await close();
  await io.close();
  await rm(root, { recursive: true });
});

async function mgsAt(listen = 'tcp://127.0.0.1:0', clusterId?: string): Promise<RunningMgs> {
  const mgs = await startMgs({ ...env, dir: join(root, 'mgs'), listen, clusterId });
  closers.push(mgs.close);
  return mgs;
}
async function mdsAt(name: string, mgsAddresses: readonly string[], clusterId?: string) {
  const mds = await startMds({
    ...env,
    dir: join(root, name),
    listen: 'tcp://127.0.0.1:0',
    mgsAddresses,
    clusterId,
  });
  closers.push(mds.close);
  return mds;
}
const serversOf = async (mgs: RunningMgs) => {
  const client = await TestClient.connect(io, mgs.addresses[0]!);
  try {
    return (await client.call('mgs.cluster', {})).servers;
  } finally {
    client.connection.destroy();
  }
};

const ost: ServerInfo = {
  role: 'ost',
  id: testId(1),
  addresses: ['tcp://127.0.0.1:7001'],
  labels: { host: 'a' },
  capacityBytes: 10 * GiB,
  freeBytes: 4 * GiB,
};

test('an MDS registers by itself, and gives a new MGS its cluster', async () => {
  const mgs = await mgsAt();
  expect(mgs.clusterId).toBe('');
  const mds = await mdsAt('mds', mgs.addresses);
  await until(async () => (await serversOf(mgs)).length === 1);
  expect(mgs.clusterId).toBe(mds.clusterId);
  const [server] = await serversOf(mgs);
  expect(server).toMatchObject({ role: 'mds', addresses: mds.addresses, health: 'up' });
});

test('an MDS starts without its MGS and finds it later', async () => {
  const probe = await mgsAt();
  const [address] = probe.addresses;
  await closers.pop()!();
  const mds = await mdsAt('mds', [address!]);
  const mgs = await mgsAt(address);
  await until(async () => (await serversOf(mgs)).length === 1);
  expect(mgs.clusterId).toBe(mds.clusterId);
});

test('servers and cluster are remembered over a restart', async () => {
  const mgs = await mgsAt(undefined, testId(0xc));
  const client = await TestClient.connect(io, mgs.addresses[0]!);
  expect(await client.call('mgs.register', ost)).toEqual({ clusterId: testId(0xc) });
  await closers.pop()!();
  const again = await mgsAt();
  expect(again.clusterId).toBe(testId(0xc));
  expect(await serversOf(again)).toMatchObject([{ ...ost, health: 'late' }]);
});

describe('another cluster', () => {
  test("'s program is refused at the hello", async () => {
    const mgs = await mgsAt(undefined, testId(0xc));
    await failure('DENIED', TestClient.connect(io, mgs.addresses[0]!, testId(0xd)));
  });

  test("'s server is refused also when it came before the cluster was known", async () => {
    const mgs = await mgsAt();
    const early = await TestClient.connect(io, mgs.addresses[0]!, testId(0xd));
    await early.call('mgs.register', ost);
    const mds = await TestClient.connect(io, mgs.addresses[0]!, testId(0xc));
    await mds.call('mgs.register', { ...ost, role: 'mds' });
    expect(mgs.clusterId).toBe(testId(0xc));
    await failure('DENIED', early.call('mgs.register', ost));
  });

  test('is not what a storage target alone decides', async () => {
    const mgs = await mgsAt();
    const client = await TestClient.connect(io, mgs.addresses[0]!, testId(0xd));
    expect(await client.call('mgs.register', ost)).toEqual({ clusterId: '' });
  });
});

test('a damaged list of servers is set aside and costs nothing', async () => {
  const mgs = await mgsAt(undefined, testId(0xc));
  const client = await TestClient.connect(io, mgs.addresses[0]!);
  await client.call('mgs.register', ost);
  await closers.pop()!();
  const file = join(root, 'mgs', 'servers.json');
  expect(JSON.parse(await readFile(file, 'utf8')).servers).toHaveLength(1);
  await writeFile(file, '{"format":1,"serv');
  const again = await mgsAt();
  expect(await serversOf(again)).toEqual([]);
  expect(await readFile(`${file}.bad`, 'utf8')).toContain('"serv');
});

test('a list of servers that cannot be read stays where it is, and is no damaged one', async () => {
  await mgsAt();
  await closers.pop()!();
  const file = join(root, 'mgs', 'servers.json');
  await rm(file, { force: true });
  await mkdir(file);
  await expect(mgsAt()).rejects.toMatchObject({ where: expect.stringContaining('servers.json') });
  expect((await stat(file)).isDirectory()).toBe(true);
});

test('the directory is for one MGS, and for no other role', async () => {
  const mgs = await mgsAt();
  await failure('BUSY', mgsAt());
  await failure('BUSY', mdsAt('mgs', []));
  expect(mgs.addresses).toHaveLength(1);
  await closers.pop()!();
  const error = await failure('CONFIG', mdsAt('mgs', []));
  expect(error.message).toContain("another server's (rawstor-mgs.json)");
});

test('calls that are not its own are answered so', async () => {
  const mgs = await mgsAt();
  const client = await TestClient.connect(io, mgs.addresses[0]!);
  await failure('NOT_SUPPORTED', client.call('mds.stat', {}));
});

test('a gateway that ends says so, and a goodbye is not overtaken by what was told before', async () => {
  const mgs = await mgsAt();
  const identity = { role: 'client' as const, clusterId: '', name: 'gateway' };
  const link = new ControlLink({ ...env, identity }, 'mgs', mgs.addresses);
  const info = () => ({ ...ost, role: 'nbd' as const });
  const registration = new Registration(link, info, env);
  await until(async () => (await serversOf(mgs)).length === 1);
  await registration.close();
  expect(await serversOf(mgs)).toEqual([]);
  // Told and ended at once.
  await new Registration(link, info, env).close();
  expect(await serversOf(mgs)).toEqual([]);
  link.close();
});
