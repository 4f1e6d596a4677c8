import { afterEach, describe, expect, test } from 'vitest';
import { BlockOp } from '../../../src/block/index.js';
import { systemClock } from '../../../src/common/clock.js';
import { KiB, MiB } from '../../../src/common/units.js';
import type { PoolBuffer } from '../../../src/io/index.js';
import { RawNbd, request } from '../../fixtures/nbd-client.js';
import { Rig, type RigOptions } from './rig.js';

/** Clients that hold the memory of the server, and what is left for others. */

const READ = 0;
const WRITE = 1;
const DELAY_MS = 10;

let rig: Rig;
const clients: RawNbd[] = [];

afterEach(async () => {
  for (const client of clients.splice(0)) client.destroy();
  await rig.stop();
});

async function start(options: RigOptions): Promise<void> {
  rig = await Rig.start(options);
  // So long that it shows how many requests are at the device together.
  rig.fault.setRules({ op: BlockOp.READ, delayMs: DELAY_MS }, { op: BlockOp.WRITE, delayMs: DELAY_MS });
}

async function open(): Promise<RawNbd> {
  const client = await RawNbd.open(rig.address);
  clients.push(client);
  return client;
}

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 2000; i++) {
    if (condition()) return;
    await systemClock.sleep(5);
  }
  throw new Error('waited in vain');
}

/** Waits until the server's pool is as full as it gets. */
async function settled(): Promise<void> {
  for (let before = -1; before !== rig.io.pool.usedBytes; ) {
    before = rig.io.pool.usedBytes;
    await systemClock.sleep(100);
  }
}

/** They ask for 32 MiB again and again and take nothing of it. */
async function greedyReaders(count: number): Promise<RawNbd[]> {
  const greedy: RawNbd[] = [];
  for (let i = 0; i < count; i++) {
    const client = await open();
    client.socket.pause();
    for (let k = 0; k < 16; k++) client.send(request(READ, 0, 32 * MiB, { cookie: k }));
    greedy.push(client);
  }
  await settled();
  return greedy;
}

/** Milliseconds that `total` reads take with `depth` of them asked for at a time. */
async function timeOfReads(
  client: RawNbd,
  lengthBytes: number,
  depth: number,
  total: number,
): Promise<number> {
  const beganMs = performance.now();
  let asked = 0;
  const ask = () => client.send(request(READ, (asked++ * lengthBytes) % (32 * MiB), lengthBytes));
  for (let i = 0; i < depth; i++) ask();
  for (let answered = 0; answered < total; answered++) {
    expect((await client.simpleReply(lengthBytes)).errno).toBe(0);
    if (asked < total) ask();
  }
  return performance.now() - beganMs;
}

/** How many the server has hung up on: who reads nothing does not see it. */
const dropped = () => clients.length - rig.server.stats().connections;

describe('thirty that ask for much and take nothing', () => {
  test('leave small requests all their depth', async () => {
    await start({ poolBytes: 32 * MiB, server: { stillMs: 1_000_000 } });
    await greedyReaders(30);
    const good = await open();
    // One at a time they would take ten seconds.
    expect(await timeOfReads(good, 4 * KiB, 32, 1000)).toBeLessThan(3000);
  });

  test('are ended after a while when somebody waits for what they hold', async () => {
    await start({ poolBytes: 32 * MiB, server: { stillMs: 1000 } });
    await greedyReaders(30);
    const good = await open();
    while (dropped() < 30) await timeOfReads(good, 8 * MiB, 8, 8);
    expect(rig.server.stats().stoodStillTotal).toBe(30);
    await until(() => rig.io.pool.usedBytes < 2 * MiB);
    // Its share is whole again.
    expect(await timeOfReads(good, 4 * MiB, 4, 16)).toBeLessThan(3000);
  });
});

test('who is alone may stand still as long as it likes', async () => {
  await start({ poolBytes: 16 * MiB, server: { stillMs: 1000 } });
  const [slow] = await greedyReaders(1);
  await systemClock.sleep(3500);
  expect(dropped()).toBe(0);
  slow!.socket.resume();
  for (let k = 0; k < 4; k++) expect((await slow!.simpleReply(32 * MiB)).errno).toBe(0);
});

test('and so may one that holds little, beside others that are busy', async () => {
  await start({ poolBytes: 32 * MiB, server: { stillMs: 1000 } });
  const slow = await open();
  slow.socket.pause();
  // More than sockets take, less than an eighth of the pool.
  for (let k = 0; k < 8; k++) slow.send(request(READ, 0, 256 * KiB));
  await settled();
  const busy = [await open(), await open(), await open()];
  await Promise.all(busy.map((client) => timeOfReads(client, 32 * MiB, 4, 12)));
  await systemClock.sleep(2000);
  expect(dropped()).toBe(0);
});

test('what lies ready for clients that have fallen silent is given back when others want it', async () => {
  await start({ poolBytes: 16 * MiB });
  rig.fault.setRules();
  for (let i = 0; i < 40; i++) {
    const client = await open();
    const writes = Array.from({ length: 40 }, () => [
      request(WRITE, 0, 16 * KiB),
      Buffer.alloc(16 * KiB),
    ]).flat();
    client.send(...writes);
    for (let k = 0; k < 40; k++) expect((await client.simpleReply()).errno).toBe(0);
  }
  await settled();
  // Less and less of it, for more and more clients.
  expect(rig.io.pool.usedBytes).toBeGreaterThan(4 * MiB);
  const good = await open();
  for (let i = 0; i < 1000 && rig.io.pool.usedBytes > 2 * MiB; i++) await timeOfReads(good, 16 * MiB, 4, 4);
  await until(() => rig.io.pool.usedBytes < 2 * MiB);
  expect(dropped()).toBe(0);
});

test('a write goes on that was stopped for the memory of others, with one piece of its own under way', async () => {
  await start({ poolBytes: 16 * MiB });
  const full: (PoolBuffer | null)[] = [];
  const writer = await open();
  rig.fault.setRules({ op: BlockOp.WRITE, hold: true });
  while (rig.io.pool.usedBytes < 13 * MiB) full.push(rig.io.pool.acquire(64 * KiB));
  writer.send(request(WRITE, 0, 64 * KiB), Buffer.alloc(64 * KiB));
  await until(() => rig.fault.heldCount > 0);
  rig.fault.setRules();
  rig.fault.release();
  expect((await writer.simpleReply()).errno).toBe(0);
  for (const buffer of full) buffer?.release();
});

test('answers without data that are not taken fill neither the pool nor the heap', async () => {
  await start({ poolBytes: 16 * MiB });
  const flood = Buffer.concat(Array.from({ length: 1000 }, () => request(99, 0, 0)));
  const handled = () => rig.server.stats().exports.disk!.unknown.requests;
  for (let i = 0; i < 20; i++) {
    const client = await RawNbd.open(rig.address, { structured: true });
    clients.push(client);
    client.socket.pause();
    for (let k = 0; k < 40; k++) client.send(flood);
  }
  for (let before = -1; before !== handled(); ) {
    before = handled();
    await systemClock.sleep(200);
  }
  // What lies in sockets is of the kernel; besides that there is at most one answer a record.
  expect(handled()).toBeLessThan(20 * 10_000);
  expect(rig.io.pool.usedBytes).toBeLessThan(20 * 256 * KiB);
});

test('of the state of the disk little waits for who does not take it', async () => {
  await start({ poolBytes: 16 * MiB, device: { sizeBytes: 1024 * MiB } });
  const good = await open();
  // A run every 64 KiB: the longest answer there is.
  for (let at = 0; at < 512 * MiB; at += 128 * KiB) good.send(request(WRITE, at, 512), Buffer.alloc(512, 1));
  for (let at = 0; at < 512 * MiB; at += 128 * KiB) expect((await good.simpleReply()).errno).toBe(0);
  const asked = () => rig.server.stats().exports.disk!.blockStatus.requests;
  for (let i = 0; i < 20; i++) {
    const client = await RawNbd.open(rig.address, { structured: true, allocation: true });
    clients.push(client);
    client.socket.pause();
    for (let k = 0; k < 1000; k++) client.send(request(7, 0, 1024 * MiB, { cookie: k }));
  }
  const before = process.memoryUsage().external;
  for (let last = -1; last !== asked(); ) {
    last = asked();
    await systemClock.sleep(200);
  }
  expect(process.memoryUsage().external - before).toBeLessThan(8 * MiB);
  const reader = await RawNbd.open(rig.address, { structured: true, allocation: true });
  clients.push(reader);
  reader.send(request(7, 0, 1024 * MiB));
  expect((await reader.chunk()).payload.length).toBe(4 + 8 * 4096);
});

test('a hundred writers that send byte by byte leave writers room, and lose what is wanted', async () => {
  await start({ poolBytes: 32 * MiB, server: { stillMs: 1500 } });
  const writers: RawNbd[] = [];
  for (let i = 0; i < 100; i++) {
    const client = await open();
    client.send(request(WRITE, 0, 32 * MiB), Buffer.alloc(300 * KiB));
    writers.push(client);
  }
  const trickle = setInterval(() => {
    for (const client of writers) client.send(Buffer.alloc(1));
  }, 100);
  try {
    await settled();
    const good = await open();
    const began = performance.now();
    for (let i = 0; i < 400; i++) good.send(request(WRITE, i * 4 * KiB, 4 * KiB), Buffer.alloc(4 * KiB, 7));
    for (let i = 0; i < 400; i++) expect((await good.simpleReply()).errno).toBe(0);
    expect(performance.now() - began).toBeLessThan(2000);
    const reading = timeOfReads(good, 8 * MiB, 8, 1000);
    reading.catch(() => {});
    // Those that hold most of it; the others together hold less than is worth it.
    await until(() => dropped() >= 10);
  } finally {
    clearInterval(trickle);
  }
});
