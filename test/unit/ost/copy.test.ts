import { beforeEach, expect, test } from 'vitest';
import { systemClock } from '../../../src/common/clock.js';
import { ERROR_CODES, type ErrorCode } from '../../../src/common/errors.js';
import { KiB, MiB } from '../../../src/common/units.js';
import type { Io } from '../../../src/io/index.js';
import { CopyTurns } from '../../../src/ost/copy-turns.js';
import type { RunningOst } from '../../../src/ost/index.js';
import type { BootId } from '../../../src/protocol/index.js';
import { type Faults, withFaults } from '../../fixtures/faulty-io.js';
import { failure, objectRecord, openIo, start, temporaryDirectory, until, Writer } from './support.js';

/** Ranges pulled from another OST: I9, and the session and region epoch that I3 and I2 ask of them. */

const record = objectRecord(1);
let io: Io;
let source: RunningOst;
let target: RunningOst;
let from: Writer;
let bootId: BootId;
let to: Writer;
const faults: Faults = {};

beforeEach(async () => {
  io = openIo();
  delete faults.hold;
  source = await start(io, temporaryDirectory());
  target = await start(withFaults(io, faults), temporaryDirectory());
  from = await Writer.attach(io, source.addresses[0]!, record, 5);
  ({ bootId } = await from.call('ost.stat', {}));
  to = await Writer.attach(io, target.addresses[0]!, record, 5);
});

function order(by: Writer, chunk: number, offset: number, length: number, sourceBootId = bootId) {
  return {
    handle: by.handle,
    chunk,
    chunkVersion: 1,
    offset,
    length,
    sourceAddresses: [...source.addresses],
    sourceOstId: source.ostId,
    sourceBootId,
  };
}

async function copy(by: Writer, chunk: number, offset: number, length: number, sourceBootId = bootId) {
  const asked = order(by, chunk, offset, length, sourceBootId);
  for (;;) {
    const answer = await by.call('ost.copy', asked);
    if (answer.waits !== true) return answer;
  }
}

/** One whose disk gives nothing of what it has: all of it is damaged. @returns its boot id */
async function failingSource(): Promise<BootId> {
  source = await start(withFaults(io, { readResult: () => -5 }), temporaryDirectory());
  from = await Writer.attach(io, source.addresses[0]!, record, 5);
  await from.write(0, 0, Buffer.alloc(4 * KiB, 1), { tag: 5 });
  return (await from.call('ost.stat', {})).bootId;
}

const sourceSays = (code: ErrorCode) => ({ copiedBytes: 0, sourceStatus: ERROR_CODES[code].wire });

test('a source that cannot be read is told apart from the target, whose session goes on', async () => {
  const itsBootId = await failingSource();
  expect(await copy(to, 0, 0, 4 * KiB, itsBootId)).toMatchObject(sourceSays('CHECKSUM'));
  await to.write(0, 0, Buffer.alloc(4 * KiB, 2), { tag: 5 });
});

test('nothing is copied from a source that may have lost something since the writer attached it', async () => {
  await from.write(0, 0, Buffer.alloc(4 * KiB, 1), { tag: 5 });
  await to.write(0, 0, Buffer.alloc(4 * KiB, 2), { tag: 5 });
  const before = { ...bootId, generation: bootId.generation - 1 };
  expect(await copy(to, 0, 0, 4 * KiB, before)).toMatchObject(sourceSays('STALE_SESSION'));
  expect((await to.read(0, 0, 4 * KiB)).bytes.equals(Buffer.alloc(4 * KiB, 2))).toBe(true);
  await copy(to, 0, 0, 4 * KiB);
  expect((await to.read(0, 0, 4 * KiB)).bytes.equals(Buffer.alloc(4 * KiB, 1))).toBe(true);
});

test("a copy brings data, holes and the source's region epochs, which are durable first", async () => {
  await from.write(0, 0, Buffer.alloc(64 * KiB, 1), { tag: 5 });
  await from.write(0, 2 * MiB, Buffer.alloc(MiB, 2), { tag: 9 });
  // What nobody else got: gone afterwards, its epoch kept.
  await to.write(0, MiB, Buffer.alloc(64 * KiB, 3), { tag: 7 });
  await to.write(1, 0, Buffer.alloc(4 * KiB, 3), { tag: 8 });
  const { copiedBytes, zeroedBytes } = await copy(to, 0, 0, 4 * MiB);
  expect(copiedBytes + zeroedBytes).toBe(4 * MiB);
  expect(copiedBytes).toBeLessThan(2 * MiB);
  await copy(to, 1, 0, 4 * MiB);
  for (const chunk of [0, 1]) {
    for (let at = 0; at < 4 * MiB; at += MiB) {
      const [one, two] = [await from.read(chunk, at, MiB), await to.read(chunk, at, MiB)];
      expect(two.bytes.equals(one.bytes), `chunk ${chunk} at ${at}`).toBe(true);
    }
  }
  const regions = await to.regions();
  expect(regions.get('0/0')).toBe(9);
  expect(regions.get('1/0')).toBe(8);
});

test('a copy of an ended session writes nothing, from its order on', async () => {
  await from.write(0, 0, Buffer.alloc(MiB, 1));
  const next = await Writer.attach(io, target.addresses[0]!, record, 5, 2);
  await failure('STALE_SESSION', copy(to, 0, 0, 4 * MiB));
  expect((await next.read(0, 0, 4 * KiB)).bytes.equals(Buffer.alloc(4 * KiB))).toBe(true);
});

test('a session that ends in the middle of a copy ends the copy', async () => {
  await from.write(0, 0, Buffer.alloc(MiB, 1));
  await from.write(0, MiB, Buffer.alloc(MiB, 1));
  let go = () => {};
  let held = false;
  faults.hold = (_file, action) => {
    if (action !== 'write' || held) return null;
    held = true;
    return new Promise((resolve) => {
      go = resolve;
    });
  };
  const copying = copy(to, 0, 0, 4 * MiB);
  const refused = failure('STALE_SESSION', copying);
  await until(() => held);
  const next = await Writer.connect(io, target.addresses[0]!);
  const attaching = next.attach(record, 5, 2);
  await until(async () => (await next.call('ost.stat', {})).sessions === 0);
  go();
  await attaching;
  await refused;
  const seen = await next.read(0, MiB, MiB);
  expect(seen.bytes.equals(Buffer.alloc(MiB))).toBe(true);
});

test('a source whose writer is another refuses', async () => {
  await from.write(0, 0, Buffer.alloc(4 * KiB, 1));
  await Writer.attach(io, source.addresses[0]!, record, 6);
  expect(await copy(to, 0, 0, 4 * MiB)).toMatchObject(sourceSays('FENCED'));
  const newer = await Writer.attach(io, target.addresses[0]!, record, 7);
  expect(await copy(newer, 0, 0, 4 * MiB)).toMatchObject(sourceSays('STALE_SESSION'));
});

test('a source that ended the reading session is asked for another', async () => {
  await from.write(0, 0, Buffer.alloc(4 * KiB, 1));
  await copy(to, 0, 0, 4 * MiB);
  // Ends every session there, the reading one too, and leaves the connection.
  await Writer.attach(io, source.addresses[0]!, record, 6);
  from = await Writer.attach(io, source.addresses[0]!, record, 6, 2);
  to = await Writer.attach(io, target.addresses[0]!, record, 6);
  await from.write(0, 0, Buffer.alloc(4 * KiB, 2));
  await copy(to, 0, 0, 4 * MiB);
  expect((await to.read(0, 0, 4 * KiB)).bytes.equals(Buffer.alloc(4 * KiB, 2))).toBe(true);
  // Even without a newer epoch to tell: the first copy may fail, the next one finds it.
  await source.close();
  source = await start(io, temporaryDirectory());
  expect(await copy(to, 0, 0, 4 * MiB)).toMatchObject(sourceSays('NOT_FOUND'));
});

test('many copies at once wait for each other, and all end', async () => {
  for (let chunk = 0; chunk < 4; chunk++) await from.write(chunk, 0, Buffer.alloc(256 * KiB, chunk + 1));
  const copies = Array.from({ length: 32 }, (_, i) => copy(to, i % 4, 0, 4 * MiB));
  await Promise.all(copies);
  for (let chunk = 0; chunk < 4; chunk++) {
    const { bytes } = await to.read(chunk, 0, 256 * KiB);
    expect(bytes.equals(Buffer.alloc(256 * KiB, chunk + 1))).toBe(true);
  }
});

test('who waits behind copies that hang is told so, again and again, and nothing of it is begun', async () => {
  const slow = await start(withFaults(io, faults), temporaryDirectory(), {
    tuning: { copies: 2, copyAnswerMs: 20 },
  });
  const writer = await Writer.attach(io, slow.addresses[0]!, record, 5);
  for (let chunk = 0; chunk < 3; chunk++) await from.write(chunk, 0, Buffer.alloc(4 * KiB, chunk + 1));
  const held: (() => void)[] = [];
  faults.hold = (_file, action) => {
    if (action !== 'write' || held.length === 2) return null;
    return new Promise((resolve) => held.push(resolve));
  };
  const hanging = [0, 1].map((chunk) => copy(writer, chunk, 0, 4 * MiB));
  await until(() => held.length === 2);
  const third = order(writer, 2, 0, 4 * MiB);
  for (let asked = 0; asked < 3; asked++) {
    const answer = await writer.call('ost.copy', { ...third, waitedMs: asked * 20 });
    expect(answer).toEqual({ copiedBytes: 0, zeroedBytes: 0, sourceStatus: 0, waits: true });
  }
  expect((await writer.read(2, 0, 4 * KiB)).bytes.equals(Buffer.alloc(4 * KiB))).toBe(true);
  for (const go of held) go();
  await Promise.all(hanging);
  expect((await copy(writer, 2, 0, 4 * MiB)).copiedBytes).toBeGreaterThan(0);
  expect((await writer.read(2, 0, 4 * KiB)).bytes.equals(Buffer.alloc(4 * KiB, 3))).toBe(true);
});

test('who has waited longest, all times together, comes next', async () => {
  const turns = new CopyTurns(systemClock, 1, 3_600_000);
  expect(await turns.begin(0)).toBe(true);
  const came: string[] = [];
  const waiting = Object.entries({ new: 0, old: 60_000, middle: 30_000 }).map(async ([name, waitedMs]) => {
    expect(await turns.begin(waitedMs)).toBe(true);
    came.push(name);
    turns.end();
  });
  turns.end();
  await Promise.all(waiting);
  expect(came).toEqual(['old', 'middle', 'new']);
});

test('copies that fail leave no reading session at the source', async () => {
  const itsBootId = await failingSource();
  const others = { ...itsBootId, generation: itsBootId.generation + 1 };
  for (let asked = 0; asked < 8; asked++) {
    // Two at once use one session.
    const failed = await Promise.all([0, 4 * KiB].map((at) => copy(to, 0, at, 4 * KiB, itsBootId)));
    for (const one of failed) expect(one).toMatchObject(sourceSays('CHECKSUM'));
    expect(await copy(to, 0, 0, 4 * KiB, others)).toMatchObject(sourceSays('STALE_SESSION'));
  }
  await until(async () => (await from.call('ost.stat', {})).sessions === 1);
});
