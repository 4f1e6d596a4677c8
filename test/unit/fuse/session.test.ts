import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { systemClock } from '../../../src/common/clock.js';
import { RawstorError } from '../../../src/common/errors.js';
import { silentLogger } from '../../../src/common/log.js';
import { writeU64 } from '../../../src/fuse/bytes.js';
import { Errno, FUSE_LIMITS, Op } from '../../../src/fuse/constants.js';
import { Refusal } from '../../../src/fuse/errno.js';
import { isKilled } from '../../../src/fuse/interrupts.js';
import { type Handlers, Session } from '../../../src/fuse/session.js';
import type { MessageDevice } from '../../../src/io/index.js';
import type { PoolBuffer } from '../../../src/io/pool.js';
import type { FileOp } from '../../../src/io/types.js';
import { FileRig } from './rig.js';

/** The kernel's side of /dev/fuse, in memory. */
class Kernel implements MessageDevice {
  readonly answers = new Map<number, { errno: number; body: Buffer }>();
  readonly reads: FileOp[] = [];
  private readonly waiting: Buffer[] = [];
  private readonly told: (() => void)[] = [];

  read(op: FileOp): void {
    this.reads.push(op);
    this.deliver();
  }

  write(op: FileOp): void {
    const bytes = op.slices.toBuffer();
    expect(bytes.readUInt32LE(0)).toBe(bytes.length);
    const unique = Number(bytes.readBigUInt64LE(8));
    expect(this.answers.has(unique), `${unique} is answered once`).toBe(false);
    this.answers.set(unique, { errno: Math.abs(bytes.readInt32LE(4)), body: bytes.subarray(16) });
    setImmediate(() => {
      op.owner.fileDone(op, bytes.length);
      for (const tell of this.told.splice(0)) tell();
    });
  }

  async close(): Promise<void> {
    for (const op of this.reads.splice(0)) op.owner.fileDone(op, -125);
  }

  send(unique: number, opcode: number, body: Buffer, nodeId = 16): void {
    const header = Buffer.alloc(40);
    header.writeUInt32LE(40 + body.length, 0);
    header.writeUInt32LE(opcode, 4);
    writeU64(header, 8, unique);
    writeU64(header, 16, nodeId);
    this.raw(Buffer.concat([header, body]));
  }

  raw(message: Buffer): void {
    this.waiting.push(message);
    this.deliver();
  }

  async answer(unique: number) {
    while (!this.answers.has(unique)) await new Promise<void>((resolve) => this.told.push(resolve));
    return this.answers.get(unique)!;
  }

  /** Messages that nobody has taken. */
  get untaken(): number {
    return this.waiting.length;
  }

  private deliver(): void {
    while (this.reads.length > 0 && this.waiting.length > 0) {
      const op = this.reads.shift()!;
      const message = this.waiting.shift()!;
      op.slices.fill({ bytes: message, address: 0 }, 0, 0, message.length);
      op.owner.fileDone(op, message.length);
    }
  }
}

let rig: FileRig;
let kernel: Kernel;
let session: Session;
let killed = false;
const calls: { opcode: number; resolve: (body: Buffer | null) => void }[] = [];
const discarded: number[] = [];
const ends: (RawstorError | null)[] = [];

const handlers: Handlers = {
  file: (handle) => (handle === 1 ? rig.file : null),
  forget: () => {},
  call: async ({ opcode }, body) => {
    if (opcode === Op.RMDIR) throw new Refusal(Errno.EPERM);
    if (opcode === Op.UNLINK) throw new RawstorError('BUSY', 'snapshots');
    if (opcode === Op.LOOKUP) body.readUInt32LE(0);
    return new Promise((resolve) => calls.push({ opcode, resolve }));
  },
  discarded: ({ opcode }) => discarded.push(opcode),
};

beforeEach(async () => {
  rig = new FileRig(1024 * 1024, { sizeBytes: 5000, modifiedWallMs: 1 });
  await rig.file.open(true);
  kernel = new Kernel();
  const { io } = rig;
  const onEnd = (error: RawstorError | null) => ends.push(error);
  const parts = { io, clock: systemClock, log: silentLogger, device: kernel, handlers, onEnd };
  session = new Session({ ...parts, isKilled: () => killed });
  session.start();
});

afterEach(async () => {
  for (const { resolve } of calls.splice(0)) resolve(null);
  rig.fault.setRules();
  rig.fault.release();
  await session.drained();
  await session.close();
  expect(ends.splice(0)).toEqual([null]);
  await rig.stop();
});

function range(handle: number, offset: number, sizeBytes: number, data = Buffer.alloc(0), flags = 0): Buffer {
  const body = Buffer.alloc(40);
  writeU64(body, 0, handle);
  writeU64(body, 8, offset);
  body.writeUInt32LE(sizeBytes, 16);
  body.writeUInt32LE(flags, 32);
  return Buffer.concat([body, data]);
}

const u64 = (value: number) => {
  const body = Buffer.alloc(8);
  writeU64(body, 0, value);
  return body;
};

test('writes, small and large, are read back; a read ends at the end of the file', async () => {
  const small = Buffer.alloc(700, 3);
  const large = Buffer.alloc(FUSE_LIMITS.payloadBytes, 4);
  kernel.send(2, Op.WRITE, range(1, 4000, 700, small));
  expect((await kernel.answer(2)).body.readUInt32LE(0)).toBe(700);
  kernel.send(4, Op.WRITE, range(1, 9001, large.length, large));
  expect((await kernel.answer(4)).body.readUInt32LE(0)).toBe(large.length);
  kernel.send(6, Op.READ, range(1, 4000, 5001));
  expect((await kernel.answer(6)).body).toEqual(Buffer.concat([small, Buffer.alloc(4301)]));
  kernel.send(8, Op.READ, range(1, 9001, FUSE_LIMITS.payloadBytes));
  expect(Buffer.compare((await kernel.answer(8)).body, large)).toBe(0);
  kernel.send(10, Op.READ, range(1, 9001 + large.length, 10));
  expect(await kernel.answer(10)).toEqual({ errno: 0, body: Buffer.alloc(0) });
});

test('errors have the numbers that programs know', async () => {
  kernel.send(2, Op.READ, range(9, 0, 10));
  expect((await kernel.answer(2)).errno).toBe(Errno.EBADF);
  kernel.send(4, Op.RMDIR, Buffer.alloc(0));
  expect((await kernel.answer(4)).errno).toBe(Errno.EPERM);
  kernel.send(6, Op.UNLINK, Buffer.alloc(0));
  expect((await kernel.answer(6)).errno).toBe(Errno.EBUSY);
  kernel.send(8, Op.LOOKUP, Buffer.alloc(2));
  expect((await kernel.answer(8)).errno).toBe(Errno.EINVAL);
  kernel.send(10, Op.WRITE, range(1, 0, 100, Buffer.alloc(50)));
  expect((await kernel.answer(10)).errno).toBe(Errno.EINVAL);
  rig.fault.setRules({ error: 'NO_SPACE', probability: 1 });
  kernel.send(12, Op.WRITE, range(1, 0, 512, Buffer.alloc(512)));
  expect((await kernel.answer(12)).errno).toBe(28);
});

test('what is no request is passed over', async () => {
  kernel.raw(Buffer.alloc(10));
  kernel.raw(Buffer.alloc(60, 0xff));
  kernel.send(2, Op.WRITE, range(1, 0, 3, Buffer.from('abc')));
  expect((await kernel.answer(2)).errno).toBe(0);
});

test('an interrupted request that is stuck is answered; what comes of it later is given back', async () => {
  rig.fault.setRules({ hold: true, probability: 1 });
  kernel.send(2, Op.READ, range(1, 0, 512));
  kernel.send(4, Op.OPEN, Buffer.alloc(8));
  kernel.send(6, Op.OPEN, Buffer.alloc(8));
  const [begunMs] = [Date.now()];
  killed = true;
  for (const unique of [2, 4]) kernel.send(unique + 1, Op.INTERRUPT, u64(unique));
  expect((await kernel.answer(2)).errno).toBe(Errno.EINTR);
  expect((await kernel.answer(4)).errno).toBe(Errno.EINTR);
  // Not at once: nearly all are done by then.
  expect(Date.now() - begunMs).toBeGreaterThan(900);
  rig.fault.setRules();
  rig.fault.release();
  for (const { resolve } of calls.splice(0)) resolve(Buffer.alloc(16, 1));
  expect((await kernel.answer(6)).body).toEqual(Buffer.alloc(16, 1));
  await session.drained();
  expect(discarded.splice(0)).toEqual([Op.OPEN]);
  kernel.send(8, Op.READ, range(1, 0, 512));
  expect((await kernel.answer(8)).errno).toBe(0);
});

test('no more is taken than may be under way, and all of it is answered in the end', async () => {
  const count = FUSE_LIMITS.inFlight + 100;
  for (let i = 0; i < count; i++) kernel.send(2 * i + 2, Op.OPEN, Buffer.alloc(8));
  expect(kernel.untaken).toBeGreaterThan(90);
  expect(session.inFlight).toBeLessThanOrEqual(FUSE_LIMITS.inFlight + FUSE_LIMITS.readsWaiting);
  while (kernel.answers.size < count) {
    for (const { resolve } of calls.splice(0)) resolve(null);
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(kernel.untaken).toBe(0);
});

test('a signal that ends nobody disturbs no request that is done in a few seconds', async () => {
  killed = false;
  rig.fault.setRules({ hold: true, probability: 1 });
  kernel.send(2, Op.READ, range(1, 0, 512));
  kernel.send(3, Op.INTERRUPT, u64(2));
  await sleep(1200);
  expect(kernel.answers.size).toBe(0);
  rig.fault.setRules();
  rig.fault.release();
  expect((await kernel.answer(2)).errno).toBe(0);
});

test('a thread that is killed and waits is told from others', () => {
  expect(isKilled(process.pid)).toBe(false);
  expect(isKilled(2 ** 22 + 1)).toBe(false);
});

test('what is stopped takes no more than it has asked for', async () => {
  session.stop();
  for (let unique = 2; unique <= 40; unique += 2) kernel.send(unique, Op.READ, range(1, 0, 512));
  await session.drained();
  expect(kernel.untaken).toBe(20 - FUSE_LIMITS.readsWaiting);
  ends.push(null);
});

test('large writes that are stuck keep nobody from names, which are in memory of their own', async () => {
  rig.fault.setRules({ hold: true, probability: 1 });
  const length = FUSE_LIMITS.copiedBytes + 512;
  const data = Buffer.alloc(length, 7);
  const count = FUSE_LIMITS.slots + 40;
  for (let i = 0; i < count; i++) kernel.send(2 * i + 2, Op.WRITE, range(1, 512 * (i % 2), length, data));
  expect(kernel.untaken).toBe(0);
  const taken: PoolBuffer[] = [];
  for (const bytes of [1024 * 1024, 64 * 1024, 4096, 512]) {
    for (let buffer = rig.io.pool.acquire(bytes); buffer !== null; buffer = rig.io.pool.acquire(bytes))
      taken.push(buffer);
  }
  const listing = Buffer.alloc(40_000, 5);
  kernel.send(9002, Op.READDIR, Buffer.alloc(40));
  await sleep(1);
  for (const { resolve } of calls.splice(0)) resolve(listing);
  const answer = await kernel.answer(9002);
  expect([answer.errno, answer.body.equals(listing)]).toEqual([0, true]);
  for (const buffer of taken) buffer.release();
  rig.fault.setRules();
  rig.fault.release();
  for (let i = 0; i < count; i++) expect((await kernel.answer(2 * i + 2)).errno).toBe(0);
}, 20_000);
