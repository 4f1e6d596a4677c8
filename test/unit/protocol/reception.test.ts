import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { systemClock } from '../../../src/common/clock.js';
import { silentLogger } from '../../../src/common/log.js';
import { MiB } from '../../../src/common/units.js';
import { createIo, type Io, type Listener } from '../../../src/io/index.js';
import type { CallGate } from '../../../src/protocol/call-gate.js';
import {
  Connection,
  type ConnectionHandler,
  encodeBody,
  type Identity,
  Opcode,
  Reception,
  type ReceptionOptions,
} from '../../../src/protocol/index.js';
import { ServedCalls } from '../../../src/protocol/served-calls.js';
import { call, deaf, frame, HELLO } from '../../fixtures/raw-peer.js';

/** Many connections to one server, some of whom take and take and give nothing back. */

const STAT = { clusterId: 'c', objects: 1, osts: 2, leases: 3, loopStallMaxMs: 4 };
const identity = (role: Identity['role']): Identity => ({ role, clusterId: '', name: `test ${role}` });
const asks: ConnectionHandler = { call: async () => ({}), data: () => {}, event: () => {}, closed: () => {} };

let io: Io;
let directory: string;
let listener: Listener;
let reception: Reception;
let served: ConnectionHandler;
/** Why connections of the server ended. */
let ends: (Error | null)[];
const sockets: Socket[] = [];

async function start(options: ReceptionOptions = {}): Promise<void> {
  reception = new Reception({ io, clock: systemClock, log: silentLogger }, identity('mds'), options);
  listener = await io.listen(`unix:${directory}/s`, (stream) => void reception.accept(stream, served));
}

beforeEach(() => {
  io = createIo({ poolBytes: 16 * MiB });
  directory = mkdtempSync(join(tmpdir(), 'rawstor-reception-'));
  ends = [];
  served = { ...asks, call: async () => STAT, closed: (_connection, error) => void ends.push(error) };
});

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await listener.close();
  reception.close();
  await io.close();
  await rm(directory, { recursive: true });
});

const open = () =>
  Connection.connect(io, listener.address, {
    identity: identity('client'),
    clock: systemClock,
    handler: asks,
    timeoutMs: 2000,
  });

const stats = (count: number) =>
  Buffer.concat(Array.from({ length: count }, (_, i) => call(i + 1, 'mds.stat', {})));

/** Sends this and reads nothing. */
function silent(...bytes: Buffer[]): Socket {
  const socket = deaf(listener.address, ...bytes);
  sockets.push(socket);
  return socket;
}

/** Answers of about this length; @returns how many were made */
function answering(bytes: number): () => number {
  const clusterId = 'c'.repeat(bytes);
  let made = 0;
  served.call = async (_connection, method) => {
    if (method !== 'mds.stat') return { osts: [] };
    made++;
    return { ...STAT, clusterId };
  };
  return () => made;
}

async function settled(value: () => number): Promise<number> {
  for (let before = -1; before !== value(); ) {
    before = value();
    await systemClock.sleep(300);
  }
  return value();
}

test('thirty that ask for all they can and read nothing get little made for them, and others are answered', async () => {
  await start();
  const made = answering(900_000);
  const thirty = Array.from({ length: 30 }, () => silent(HELLO, stats(200)));
  const good = await open();
  const began = performance.now();
  for (let i = 0; i < 20; i++) await good.call('mds.listOsts', {});
  expect(performance.now() - began).toBeLessThan(2000);
  expect(await settled(made)).toBeLessThanOrEqual(30 * 4);
  // Who takes them after all gets every one.
  let bytes = 0;
  thirty[7]!.on('data', (data) => {
    bytes += data.length;
  });
  thirty[7]!.resume();
  await vi.waitUntil(() => bytes > 200 * 900_000, 20_000);
  good.destroy();
});

test('from who does not take its answers nothing more is read', async () => {
  await start();
  answering(900_000);
  const peer = silent(HELLO, stats(20));
  await systemClock.sleep(300);
  const event = frame({ opcode: Opcode.EVENT }, encodeBody(['nothing', 'x'.repeat(500_000)]));
  for (let i = 0; i < 20; i++) peer.write(event);
  await systemClock.sleep(500);
  expect(peer.writableLength).toBeGreaterThan(4 * MiB);
});

test('calls that lie in one gulp do not all begin at once', async () => {
  await start();
  let begun = 0;
  let most = 0;
  served.call = async () => {
    if (begun++ === 0) setImmediate(() => (begun = 0));
    most = Math.max(most, begun);
    return STAT;
  };
  const connections = await Promise.all(Array.from({ length: 5 }, open));
  await Promise.all(
    connections.flatMap((each) => Array.from({ length: 200 }, () => each.call('mds.stat', {}))),
  );
  expect(most).toBeLessThanOrEqual(16);
  for (const each of connections) each.destroy();
});

test('calls that take long hold up no others', async () => {
  await start();
  const waiting: (() => void)[] = [];
  served.call = async (_connection, method) => {
    if (method === 'mds.listOsts') await new Promise<void>((resolve) => waiting.push(resolve));
    return method === 'mds.listOsts' ? { osts: [] } : STAT;
  };
  const connection = await open();
  const long = Array.from({ length: 200 }, () => connection.call('mds.listOsts', {}));
  expect(await connection.call('mds.stat', {})).toEqual(STAT);
  await vi.waitUntil(() => waiting.length === 200, 5000);
  for (const resolve of waiting) resolve();
  await Promise.all(long);
  connection.destroy();
});

test('calls that wait for their turn are few, or short', () => {
  const held: boolean[] = [];
  const host = {
    closed: false,
    behind: false,
    name: 'test',
    perform: async () => STAT,
    answer: () => {},
    answered: () => {},
    fail: () => {},
    holdCalls: (hold: boolean) => void held.push(hold),
  };
  const never = { admit: () => false, queue: () => {} } as unknown as CallGate;
  const calls = new ServedCalls(host, never);
  const body = (bytes: number) => encodeBody(['mds.stat', { more: 'x'.repeat(bytes) }]);
  for (let i = 0; i < 2; i++) calls.receive(i, body(100_000));
  expect(held).toEqual([]);
  calls.receive(2, body(100_000));
  expect(held).toEqual([true]);
  while (calls.beginNext());
  expect(held).toEqual([true, false]);
  for (let i = 0; i < 300; i++) calls.receive(i, body(1));
  expect(held).toEqual([true, false, true]);
});

test('all answers that wait are bounded together: who stands still longest is dropped', async () => {
  await start();
  answering(1_000_000);
  for (let i = 0; i < 120; i++) silent(HELLO, stats(2));
  await vi.waitUntil(() => ends.length > 0, 20_000);
  await settled(() => ends.length);
  expect(ends.length).toBeLessThan(100);
  for (const error of ends) expect(error).toMatchObject({ code: 'LIMIT' });
  const good = await open();
  for (let i = 0; i < 20; i++) expect((await good.call('mds.stat', {})).objects).toBe(1);
  good.destroy();
});

test('who takes no answers for some time is dropped, and so is who stops in a frame; who is only quiet is not', async () => {
  await start({ stillMs: 600 });
  answering(900_000);
  const good = await open();
  silent(HELLO, stats(10));
  silent(HELLO, stats(1).subarray(0, 50));
  await vi.waitUntil(() => ends.length === 2, 5000);
  for (const error of ends) expect(error).toMatchObject({ code: 'TIMEOUT' });
  await systemClock.sleep(1500);
  expect((await good.call('mds.stat', {})).objects).toBe(1);
  expect(ends.length).toBe(2);
  good.destroy();
});

test('one too many is told so', async () => {
  await start({ connectionsMax: 3 });
  const three = [await open(), await open(), await open()];
  await expect(open()).rejects.toMatchObject({
    code: 'LIMIT',
    message: 'this mds has 3 connections already',
    hint: expect.stringContaining('ss -tnp'),
  });
  for (const each of three) expect(await each.call('mds.stat', {})).toEqual(STAT);
  three[0]!.destroy();
  await vi.waitUntil(() => ends.length === 1, 5000);
  three.push(await open());
  for (const each of three.slice(1)) each.destroy();
});

test('a flood of connections beyond the limit keeps few descriptors', async () => {
  await start({ connectionsMax: 1 });
  const good = await open();
  for (let i = 0; i < 500; i++) silent();
  await systemClock.sleep(500);
  expect(io.pool.usedBytes).toBeLessThan(4 * MiB);
  expect(await good.call('mds.stat', {})).toEqual(STAT);
  good.destroy();
});

test('a newcomer gets the place of who has said nothing for long, not of who is at work', async () => {
  await start({ connectionsMax: 3, quietMs: 500, stillMs: 600 });
  const worker = await open();
  const working = setInterval(() => void worker.call('mds.stat', {}), 50);
  try {
    silent(HELLO);
    silent(HELLO);
    await systemClock.sleep(800);
    const newcomer = await open();
    expect(await newcomer.call('mds.stat', {})).toEqual(STAT);
    expect(await worker.call('mds.stat', {})).toEqual(STAT);
    newcomer.destroy();
  } finally {
    clearInterval(working);
  }
  worker.destroy();
});
