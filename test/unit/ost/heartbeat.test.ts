import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { systemClock } from '../../../src/common/clock.js';
import { silentLogger } from '../../../src/common/log.js';
import { KiB } from '../../../src/common/units.js';
import { Heartbeat } from '../../../src/ost/heartbeat.js';
import { Removal } from '../../../src/ost/removal.js';
import { DirectoryStorage } from '../../../src/ost/storage-directory.js';
import { type Identity, type OstInfo, type Params, Reception } from '../../../src/protocol/index.js';
import { atEnd, objectRecord, openIo, start, temporaryDirectory, testId, until, Writer } from './support.js';

const identity = (role: Identity['role']): Identity => ({ role, clusterId: '', name: `test ${role}` });
const info: OstInfo = {
  ostId: testId(0x0a),
  addresses: ['tcp://127.0.0.1:1'],
  labels: { host: 'a' },
  capacityBytes: 1e12,
  freeBytes: 9e11,
  bootId: { kernel: 'k', generation: 1 },
};

/** Answers heartbeats as an MDS does that wants `removed` removed until it is confirmed. */
async function serve(removed: string[]) {
  const io = openIo();
  const address = `unix:${temporaryDirectory()}/mds`;
  const seen = { registrations: 0, confirmed: [] as string[] };
  const reception = new Reception({ io, clock: systemClock, log: silentLogger }, identity('mds'));
  const handler = {
    call: async (_connection: unknown, method: string, params: unknown) => {
      if (method === 'mds.confirmDeleted') {
        seen.confirmed.push(...(params as Params<'mds.confirmDeleted'>).objects);
        return {};
      }
      seen.registrations++;
      const deletedObjects = removed.filter((id) => !seen.confirmed.includes(id));
      return { clusterId: testId(0xc1), deletedObjects, leftObjects: [], draining: false };
    },
    data: () => {},
    event: () => {},
    closed: () => {},
  };
  const listener = await io.listen(address, (stream) => void reception.accept(stream, handler));
  atEnd(async () => {
    await listener.close();
    reception.close();
  });
  return { io, address, seen };
}

test('an OST is heard while it deletes, one object after another, and ends without waiting for that', async () => {
  const ids = [1, 2, 3].map(testId);
  const { io, address, seen } = await serve(ids);
  const asked: string[] = [];
  const ways: (() => void)[] = [];
  const owner = {
    joined: async () => {},
    draining: async () => {},
    leaveObject: async () => {},
    deleteObject: (id: string) => {
      asked.push(id);
      return new Promise<void>((resolve) => ways.push(resolve));
    },
  };
  const env = { io, clock: systemClock, log: silentLogger, onFatal: () => {} };
  const beat = new Heartbeat(env, address, identity('ost'), 5, () => info, owner);
  atEnd(() => beat.close());
  await until(() => asked.length === 1);
  const before = seen.registrations;
  await until(() => seen.registrations > before + 5);
  expect([asked, seen.confirmed]).toEqual([[ids[0]], []]);
  ways[0]!();
  await until(() => asked.length === 2);
  const then = seen.registrations;
  await until(() => seen.registrations > then + 2);
  await beat.close();
  ways[1]!();
  await new Promise((resolve) => setImmediate(resolve));
  expect([asked, seen.confirmed]).toEqual([ids.slice(0, 2), []]);
});

test('what is gone is confirmed once, and not asked for again', async () => {
  const ids = [1, 2].map(testId);
  const { io, address, seen } = await serve(ids);
  const ost = await start(io, temporaryDirectory(), { mdsAddresses: [address], tuning: { heartbeatMs: 5 } });
  await until(() => seen.confirmed.length === 2);
  const before = seen.registrations;
  await until(() => seen.registrations > before + 3);
  expect(seen.confirmed).toEqual(ids);
  await ost.close();
});

test('a removal is cut short between two files when the OST is stopped, and gone on with after its start', async () => {
  const record = objectRecord(1);
  const { io, address, seen } = await serve([record.id]);
  const dir = temporaryDirectory();
  const files = () =>
    readdirSync(join(dir, 'chunks'), { recursive: true, withFileTypes: true }).filter((e) => e.isFile());
  let ost = await start(io, dir);
  const writer = await Writer.attach(io, ost.addresses[0]!, record, 5);
  for (let chunk = 0; chunk < 4; chunk++) await writer.write(chunk, 0, Buffer.alloc(4 * KiB, 1));
  await ost.close();
  expect(files()).toHaveLength(4);
  let proceed = () => {};
  const held = new Promise<void>((resolve) => {
    proceed = resolve;
  });
  const usage = vi.spyOn(DirectoryStorage.prototype, 'usage').mockImplementation(async () => {
    await held;
    return { allocatedBytes: 0, chunks: 4, versions: [] };
  });
  atEnd(() => usage.mockRestore());
  ost = await start(io, dir, { mdsAddresses: [address], tuning: { heartbeatMs: 5 } });
  await until(() => usage.mock.calls.length === 1);
  const stopped = vi.spyOn(Removal.prototype, 'close');
  atEnd(() => stopped.mockRestore());
  const closing = ost.close();
  await until(() => stopped.mock.calls.length === 1);
  proceed();
  await closing;
  expect([files().length, seen.confirmed]).toEqual([4, []]);
  ost = await start(io, dir);
  await until(() => files().length === 0);
  await ost.close();
});
