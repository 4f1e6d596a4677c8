import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { systemClock } from '../../../src/common/clock.js';
import { silentLogger } from '../../../src/common/log.js';
import { MiB } from '../../../src/common/units.js';
import { createIo, type Io } from '../../../src/io/index.js';
import { type RunningMds, startMds } from '../../../src/mds/index.js';
import type { LeaseTimes } from '../../../src/mds/leases.js';
import { TestClient, until } from './processes.js';
import { createSpec, failure, ostInfo, testId } from './support.js';

let dir: string;
let io: Io;
let mds: RunningMds;
let client: TestClient;

const LEASES: LeaseTimes = { leaseMs: 60_000, lostGraceMs: 20, restartMs: 0 };

async function start(): Promise<void> {
  const env = { io, clock: systemClock, log: silentLogger };
  mds = await startMds({ ...env, dir, listen: 'tcp://127.0.0.1:0', leaseTimes: LEASES });
  client = await connect();
}
const connect = (clusterId = '') => TestClient.connect(io, mds.addresses[0]!, clusterId);

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'rawstor-mds-'));
  io = createIo({ poolBytes: 16 * MiB });
  await start();
});
afterEach(async () => {
  await mds.close();
  await io.close();
  await rm(dir, { recursive: true });
});

async function makeVolume() {
  for (const number of [1, 2]) await client.call('mds.registerOst', ostInfo(number));
  return client.call('mds.createObject', createSpec());
}

test('a volume from creation to removal, with a restart in between', async () => {
  const made = await makeVolume();
  const opened = await client.call('mds.open', { ref: 'vol', mode: 'write', holder: 'h', force: false });
  const session = { id: made.id, sessionEpoch: opened.sessionEpoch };
  const members = made.members.map((m) => ({ ...m, bootId: { kernel: 'k', generation: 1 } }));
  const drop = { ...session, expectedEpoch: 2, requestId: 'r1', members, loss: false };
  expect(await client.call('mds.changeMembers', drop)).toEqual({ epoch: 3 });
  expect(await client.call('mds.seal', { ...session, expectedEpoch: 3, requestId: 'r2', seal: 3 })).toEqual({
    epoch: 4,
  });
  const { clusterId } = mds;
  await mds.close();
  await start();
  expect(mds.clusterId).toBe(clusterId);
  expect(await client.call('mds.changeMembers', drop)).toEqual({ epoch: 3 });
  expect((await client.call('mds.renew', session)).osts).toHaveLength(2);
  await client.call('mds.close', { ...session, clean: true });
  expect(await client.call('mds.getObj', { ref: 'vol' })).toMatchObject({
    clean: true,
    lastSeal: 3,
    members,
  });
  await client.call('mds.remove', { ref: 'vol', force: false });
  const stat = await client.call('mds.stat', {});
  expect(stat).toEqual({ clusterId, objects: 0, osts: 2, leases: 0, loopStallMaxMs: expect.any(Number) });
});

test('errors keep their code, text and hint over the wire', async () => {
  await makeVolume();
  const error = await failure('EXISTS', client.call('mds.createObject', createSpec()));
  expect(error.toUserText()).toMatch(/'vol' exists already.*another name/s);
  await failure('NOT_FOUND', client.call('mds.getObj', { ref: 'no-such' }));
  await failure('INVALID', client.call('mds.createObject', createSpec({ name: 'a/b' })));
  await failure('NOT_SUPPORTED', client.call('mgs.cluster', {}));
});

test('an open connection keeps nothing by itself, a lost one shortens the lease', async () => {
  await makeVolume();
  const writer = await connect();
  await writer.call('mds.open', { ref: 'vol', mode: 'write', holder: 'w', force: false });
  await failure('BUSY', client.call('mds.open', { ref: 'vol', mode: 'write', holder: 'x', force: false }));
  writer.connection.destroy();
  await until(async () => (await client.call('mds.getObj', { ref: 'vol' })).lease === null);
  await client.call('mds.open', { ref: 'vol', mode: 'write', holder: 'x', force: false });
});

describe('a removed object', () => {
  test('is told to its connected OSTs at once, and only to them', async () => {
    const osts = [await connect(), await connect(), await connect()];
    for (const [i, ost] of osts.entries()) await ost.call('mds.registerOst', ostInfo(i + 1));
    const made = await client.call('mds.createObject', createSpec({ near: 'host1' }));
    await client.call('mds.remove', { ref: 'vol', force: false });
    const told = made.members.map((m) => osts[Number.parseInt(m.ostId.slice(-2), 16) - 1]!);
    await until(() => told.every((ost) => ost.events.length > 0));
    for (const ost of told) {
      expect(ost.events).toEqual([{ name: 'mds.deleted', params: { objects: [made.id] } }]);
    }
    expect(client.events).toEqual([]);
    expect(osts.filter((ost) => ost.events.length === 0)).toHaveLength(1);
  });

  test('is told when an OST registers after a restart of the MDS, until it confirms', async () => {
    const made = await makeVolume();
    await client.call('mds.remove', { ref: 'vol', force: false });
    await mds.close();
    await start();
    for (const number of [1, 2]) {
      const { deletedObjects } = await client.call('mds.registerOst', ostInfo(number));
      expect(deletedObjects).toEqual([made.id]);
      await client.call('mds.confirmDeleted', { ostId: testId(number), objects: deletedObjects });
      expect((await client.call('mds.registerOst', ostInfo(number))).deletedObjects).toEqual([]);
    }
  });
});

test("another cluster's program is refused", async () => {
  await connect(mds.clusterId);
  const error = await failure('DENIED', connect(testId(0xbad)));
  expect(error.toUserText()).toContain(mds.clusterId);
});

test('what is being recorded when the server closes is recorded, or never answered', async () => {
  await makeVolume();
  const names = Array.from({ length: 20 }, (_, i) => `v${i}`);
  const calls = names.map((name) => client.call('mds.createObject', createSpec({ name })));
  const answered = Promise.allSettled(calls);
  await mds.close();
  await start();
  const { objects } = await client.call('mds.list', { after: '', limit: 100 });
  const there = new Set(objects.map((o) => o.name));
  for (const [i, result] of (await answered).entries()) {
    if (result.status === 'fulfilled') expect(there).toContain(names[i]);
  }
});
