import { expect, test } from 'vitest';
import { KiB } from '../../../src/common/units.js';
import { type Faults, withFaults } from '../../fixtures/faulty-io.js';
import {
  failure,
  objectRecord,
  openIo,
  start,
  temporaryDirectory,
  testId,
  until,
  Writer,
} from './support.js';

/** I4: after an attach is answered nothing of an earlier session is served, also after a restart. */

const record = objectRecord(1);
const block = (fill: number) => Buffer.alloc(4 * KiB, fill);

test('an attach ends earlier sessions, for reads and for writes', async () => {
  const io = openIo();
  const ost = await start(io, temporaryDirectory());
  const old = await Writer.attach(io, ost.addresses[0]!, record, 5);
  expect((await old.write(0, 0, block(1))).status).toBe('OK');
  const next = await Writer.attach(io, ost.addresses[0]!, record, 6);
  expect((await old.write(0, 0, block(2))).status).toBe('STALE_SESSION');
  expect((await old.read(0, 0, 512)).status).toBe('STALE_SESSION');
  expect((await old.flush()).status).toBe('STALE_SESSION');
  await failure('STALE_SESSION', old.regions());
  await failure('FENCED', old.attach(record, 5, 99));
  expect((await next.read(0, 0, 4 * KiB)).bytes.equals(block(1))).toBe(true);
});

test('the fence outlives the process', async () => {
  const io = openIo();
  const dir = temporaryDirectory();
  let ost = await start(io, dir);
  const first = await Writer.attach(io, ost.addresses[0]!, record, 5, 3);
  expect((await first.write(0, 0, block(1))).status).toBe('OK');
  await ost.close();
  ost = await start(io, dir);
  const writer = await Writer.connect(io, ost.addresses[0]!);
  await failure('FENCED', writer.attach(record, 4, 9));
  await failure('STALE_SESSION', writer.attach(record, 5, 3));
  await failure('STALE_SESSION', writer.attach(record, 5, 2));
  // The handle of the process before means nothing to this one.
  Object.assign(writer, { handle: first.handle, epoch: 5, number: 3, tag: 5 });
  expect((await writer.read(0, 0, 512)).status).toBe('STALE_SESSION');
  expect((await writer.write(0, 0, block(2))).status).toBe('STALE_SESSION');
  await writer.attach(record, 5, 4);
  expect((await writer.read(0, 0, 4 * KiB)).bytes.equals(block(1))).toBe(true);
});

test("a session's handle is of no use on another connection", async () => {
  const io = openIo();
  const ost = await start(io, temporaryDirectory());
  const owner = await Writer.attach(io, ost.addresses[0]!, record, 5);
  const thief = await Writer.connect(io, ost.addresses[0]!);
  Object.assign(thief, { handle: owner.handle, epoch: 5, number: 1, tag: 5 });
  expect((await thief.write(0, 0, block(9))).status).toBe('STALE_SESSION');
  await failure('STALE_SESSION', thief.call('ost.detach', { handle: owner.handle }));
  expect((await owner.read(0, 0, 512)).status).toBe('OK');
});

test('after a reconnect nothing left in the old socket is applied', async () => {
  const io = openIo();
  const ost = await start(io, temporaryDirectory());
  const old = await Writer.attach(io, ost.addresses[0]!, record, 5, 1);
  const next = await Writer.connect(io, ost.addresses[0]!);
  for (let round = 0; round < 10; round++) {
    // Writes all the time, so that there are always some between the two ends when the attach is answered.
    const writing = Array.from({ length: 64 }, async (_, i) => {
      for (let fill = 1; ; fill = (fill % 255) + 1) {
        const { status } = await old.write(0, i * 4 * KiB, block(fill));
        if (status !== 'OK') return status;
      }
    });
    await next.attach(record, 5, 2 * round + 2);
    const seen = await next.read(0, 0, 256 * KiB);
    for (const status of await Promise.all(writing)) expect(status).toBe('STALE_SESSION');
    expect((await next.read(0, 0, 256 * KiB)).bytes.equals(seen.bytes)).toBe(true);
    await old.attach(record, 5, 2 * round + 3);
  }
});

test('an attach waits for what the kernel has, and that is not answered as done', async () => {
  const real = openIo();
  const faults: Faults = {};
  const io = withFaults(real, faults);
  const ost = await start(io, temporaryDirectory());
  const old = await Writer.attach(real, ost.addresses[0]!, record, 5);
  expect((await old.write(0, 0, block(1))).status).toBe('OK');
  const release = new Map<string, () => void>();
  faults.hold = (_file, action) => new Promise((resolve) => release.set(action, resolve));
  const writing = old.write(0, 0, block(2));
  const reading = old.read(0, 0, 512);
  await until(() => release.has('write') && release.has('read'));
  faults.hold = () => null;
  const next = await Writer.connect(real, ost.addresses[0]!);
  let attached = false;
  const attaching = next.attach(record, 6, 1).then(() => {
    attached = true;
  });
  // The fence is there: whoever comes with the old epoch is refused although the attach is not answered.
  const late = await Writer.connect(real, ost.addresses[0]!);
  await until(async () => {
    const info = await late.call('ost.stat', {});
    return info.sessions === 0;
  });
  expect(attached).toBe(false);
  release.get('read')!();
  expect((await reading).status).toBe('FENCED');
  expect(attached).toBe(false);
  release.get('write')!();
  expect((await writing).status).toBe('FENCED');
  await attaching;
  await failure('FENCED', late.attach(record, 5, 7));
});

test('an attach waits for what the kernel has also when the connection that sent it has ended', async () => {
  const real = openIo();
  const faults: Faults = {};
  const ost = await start(withFaults(real, faults), temporaryDirectory());
  // It ends its session at once, as a connection does that is reset.
  const old = Writer.over(real, await ost.connector.connect('', [], 1000));
  await old.attach(record, 5, 1);
  expect((await old.write(0, 0, block(1))).status).toBe('OK');
  let release: (() => void) | null = null;
  faults.hold = () =>
    new Promise((resolve) => {
      release = resolve;
    });
  const writing = old.write(0, 0, block(2));
  await until(() => release !== null);
  faults.hold = () => null;
  old.peer.destroy();
  const next = await Writer.connect(real, ost.addresses[0]!);
  await until(async () => (await next.call('ost.stat', {})).sessions === 0);
  let attached = false;
  const attaching = next.attach(record, 5, 2).then(() => {
    attached = true;
  });
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(attached).toBe(false);
  release!();
  await attaching;
  expect((await writing).status).toBe('STALE_SESSION');
  // The write of before is over: nothing of it comes behind this one.
  expect((await next.write(0, 0, block(3))).status).toBe('OK');
  expect((await next.read(0, 0, 4 * KiB)).bytes.equals(block(3))).toBe(true);
});

test('attaches of many writers at once end with the highest', async () => {
  const io = openIo();
  const ost = await start(io, temporaryDirectory());
  const writers = await Promise.all(Array.from({ length: 8 }, () => Writer.connect(io, ost.addresses[0]!)));
  const order = [7, 3, 9, 2, 8, 4, 6, 5];
  await Promise.allSettled(writers.map((writer, i) => writer.attach(record, order[i]!, 1)));
  const served = [];
  for (const [i, writer] of writers.entries()) {
    if (writer.handle !== 0 && (await writer.read(0, 0, 512)).status === 'OK') served.push(order[i]);
  }
  expect(served).toEqual([9]);
});

test('another chunk size for a known object is refused', async () => {
  const io = openIo();
  const ost = await start(io, temporaryDirectory());
  const writer = await Writer.attach(io, ost.addresses[0]!, record, 5);
  const other = objectRecord(1, { chunkSizeBytes: record.chunkSizeBytes * 2 });
  await failure('CONFLICT', writer.attach(other, 6, 1));
});

test('a reading session is of the writer attached here, and of no other', async () => {
  const io = openIo();
  const ost = await start(io, temporaryDirectory());
  const reader = await Writer.connect(io, ost.addresses[0]!);
  const asked = (sessionEpoch: number) => ({ objectId: testId(1), sessionEpoch });
  await failure('NOT_FOUND', reader.call('ost.attachReader', asked(5)));
  const writer = await Writer.attach(io, ost.addresses[0]!, record, 5);
  expect((await writer.write(0, 0, block(1))).status).toBe('OK');
  await failure('FENCED', reader.call('ost.attachReader', asked(4)));
  await failure('STALE_SESSION', reader.call('ost.attachReader', asked(6)));
  const { handle } = await reader.call('ost.attachReader', asked(5));
  Object.assign(reader, { handle, epoch: 5, number: 0 });
  const got = await reader.read(0, 0, 4 * KiB);
  expect([got.status, got.tag]).toEqual(['OK', 5]);
  expect(got.bytes.equals(block(1))).toBe(true);
  expect((await reader.write(0, 0, block(2), { tag: 5 })).status).toBe('READ_ONLY');
  await Writer.attach(io, ost.addresses[0]!, record, 6);
  expect((await reader.read(0, 0, 512)).status).toBe('STALE_SESSION');
});

test('an in-sync set is kept when it is newer, and not from an ended session', async () => {
  const io = openIo();
  const dir = temporaryDirectory();
  const ost = await start(io, dir);
  const old = await Writer.attach(io, ost.addresses[0]!, record, 5);
  const next = await Writer.attach(io, ost.addresses[0]!, record, 8);
  const set = (epoch: number) => ({ set: { epoch, members: [] }, lastSeal: epoch - 1 });
  await failure('STALE_SESSION', old.call('ost.storeSet', { handle: old.handle, ...set(6) }));
  await next.call('ost.storeSet', { handle: next.handle, ...set(9) });
});

test('a connection has a limit of sessions', async () => {
  const io = openIo();
  const ost = await start(io, temporaryDirectory());
  const writer = await Writer.attach(io, ost.addresses[0]!, record, 5);
  const asked = { objectId: testId(1), sessionEpoch: 5 };
  const attaching = async (count: number) => {
    for (let i = 0; i < count; i += 128) {
      await Promise.all(Array.from({ length: 128 }, () => writer.call('ost.attachReader', asked)));
    }
  };
  await attaching(896);
  await failure('LIMIT', attaching(256));
});
