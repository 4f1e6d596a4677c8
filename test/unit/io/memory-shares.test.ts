import { symlinkSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { LIMITS } from '../../../src/common/limits.js';
import { MiB } from '../../../src/common/units.js';
import { Buffers } from '../../../src/fuse/buffers.js';
import { BufferPool, heapMemory, MemoryShares } from '../../../src/io/index.js';
import { Ring } from '../../../src/io/ring.js';
import { loadNative } from '../../../src/native/index.js';
import { WriteCopies } from '../../../src/vhost/write-copies.js';

/** What one who waits may keep from others: never all. */

test('one alone has half, each next one less, and the last one a piece as long as there is any', () => {
  const shares = new MemoryShares(32, 64);
  const holders = Array.from({ length: 30 }, () => shares.open());
  for (const one of holders) while (one.mayHave(1)) one.took(1);
  const held = holders.map(({ heldBytes }) => heldBytes);
  expect(held.slice(0, 6)).toEqual([16, 8, 4, 2, 1, 1]);
  expect(Math.min(...held)).toBe(1);
  holders[0]!.gave(16);
  expect(shares.heldBytes).toBe(held.reduce((sum, one) => sum + one) - 16);
  expect(holders[1]!.mayHave(1)).toBe(false);
  expect(holders[0]!.mayHave(16)).toBe(true);
});

test('however many vhost devices wait for their replicas, connections find memory, and so does a device that does not wait', () => {
  const pool = new BufferPool(heapMemory(64 * MiB));
  const devices = Array.from({ length: 12 }, () => new WriteCopies(pool));
  for (const copies of devices) while (copies.acquire(MiB) !== null);
  expect(pool.usedBytes).toBeGreaterThan(20 * MiB);
  expect(pool.capacityBytes - pool.usedBytes).toBeGreaterThanOrEqual(24 * MiB);
  expect(new WriteCopies(pool).acquire(4096)).not.toBeNull();
});

test('requests that need two buffers where one is free try once each when one comes back, and do not set each other off', () => {
  const pool = new BufferPool(heapMemory(4 * MiB));
  const held = Array.from({ length: 4 }, () => pool.acquire(MiB)!);
  let tries = 0;
  for (let i = 0; i < 16; i++) {
    const buffers = new Buffers();
    const attempt = () => {
      tries++;
      if (!buffers.take(pool, MiB) || !buffers.take(pool, MiB)) pool.whenFree(attempt);
    };
    attempt();
  }
  tries = 0;
  held.pop()!.release();
  expect(tries).toBe(16);
  held.pop()!.release();
  // One of them has both now.
  expect(tries).toBe(32);
  expect(pool.usedBytes).toBe(4 * MiB);
});

test('each connection of two full servers has room on the ring for what it receives and what it sends', () => {
  const ring = new Ring({ runBatch: () => {} } as never);
  expect(ring.slots).toBeGreaterThanOrEqual(2 * 2 * LIMITS.connectionsPerServer + 1024);
  ring.close();
});

test('the handle of a directory is that of where a link leads to', async () => {
  const root = await mkdtemp(join(tmpdir(), 'rawstor-handle-'));
  symlinkSync(root, join(root, 'link'));
  expect(loadNative().fileHandle(join(root, 'link'))).toBe(loadNative().fileHandle(root));
  await rm(root, { recursive: true });
});
