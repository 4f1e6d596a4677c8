import { beforeEach, describe, expect, test, vi } from 'vitest';
import { KiB, MiB } from '../../../src/common/units.js';
import {
  type BatchTask,
  BufferPool,
  heapMemory,
  type PoolAccount,
  type PoolBuffer,
  PoolShares,
  type Stream,
} from '../../../src/io/index.js';
import { ManualClock } from '../mds/support.js';

/** Shares of a pool of 64 MiB: 32 for large ones, 16 more for small ones of up to 256 KiB. */

const HELD_MAX = 8 * MiB;

let clock: ManualClock;
let pool: BufferPool;
let shares: PoolShares;
let tasks: Set<BatchTask>;

beforeEach(() => {
  clock = new ManualClock();
  pool = new BufferPool(heapMemory(64 * MiB));
  tasks = new Set();
  const io = { pool, schedule: (task: BatchTask) => void tasks.add(task) };
  shares = new PoolShares(io, clock, { heldMaxBytes: HELD_MAX, stillMs: 3000 });
});

function turn(): void {
  const due = [...tasks];
  tasks.clear();
  for (const task of due) task.runBatch();
}

class Holder {
  readonly stream = {
    arriving: -1,
    leaving: 0,
    sentBytes: 0,
    receivedBytes: 0,
    receivingBytes: 0,
    shrink: vi.fn(),
  } as unknown as Stream;
  readonly account: PoolAccount = shares.open(this);
  readonly buffers: PoolBuffer[] = [];
  readonly memoryBack = vi.fn();
  readonly stoodStill = vi.fn();

  /** As many as it gets. */
  fill(sizeBytes: number, max = Number.POSITIVE_INFINITY): this {
    for (let i = 0; i < max; i++) {
      const buffer = this.account.acquire(sizeBytes);
      if (buffer === null) break;
      this.buffers.push(buffer);
    }
    return this;
  }

  giveBack(count: number): void {
    for (const buffer of this.buffers.splice(0, count)) {
      this.account.heldBytes -= buffer.sizeBytes;
      buffer.release();
    }
  }

  takes(bytes: number): void {
    Object.assign(this.stream, {
      leaving: this.stream.leaving + bytes,
      sentBytes: this.stream.sentBytes + bytes,
    });
  }
}

const greedy = (count: number) => Array.from({ length: count }, () => new Holder().fill(256 * KiB));

test('one alone gets all that one may hold', () => {
  expect(new Holder().fill(256 * KiB).account.heldBytes).toBe(HELD_MAX);
});

test('many get less each, all together half of the pool and small shares beyond', () => {
  greedy(30);
  expect(pool.usedBytes).toBeLessThanOrEqual(32 * MiB + 30 * 256 * KiB);
  const late = new Holder().fill(4 * KiB);
  expect(late.account.heldBytes).toBe(256 * KiB);
});

test('the first buffer is there for everyone, smaller where little is left', () => {
  const many = Array.from({ length: 600 }, () => {
    const holder = new Holder();
    return holder.fill(holder.account.fitting(256 * KiB, 4 * KiB), 2);
  });
  expect(many.every((holder) => holder.buffers.length > 0)).toBe(true);
  const { account } = new Holder();
  expect(pool.usedBytes).toBeGreaterThan(48 * MiB);
  expect(account.fitting(256 * KiB, 4 * KiB)).toBeLessThanOrEqual(16 * KiB);
  expect(account.acquire(account.fitting(256 * KiB, 4 * KiB))).not.toBeNull();
});

test('who waits is called once a turn, whatever comes back in it, and only when there is room', () => {
  const [first, ...rest] = greedy(12);
  const waiting = rest.at(-1)!;
  waiting.account.wait();
  first!.giveBack(1);
  turn();
  // A share that shrinks while the pool is full: there is no room yet.
  expect(waiting.memoryBack.mock.calls.length).toBeLessThanOrEqual(1);
  waiting.account.wait();
  waiting.memoryBack.mockClear();
  first!.giveBack(20);
  turn();
  turn();
  expect(waiting.memoryBack).toHaveBeenCalledTimes(1);
});

describe('while others wait', () => {
  test('who stands still is ended, after the time and not before', () => {
    const still = greedy(6);
    const other = new Holder().fill(256 * KiB);
    const press = (seconds: number) => {
      for (let i = 0; i < seconds; i++) {
        other.takes(10 * MiB);
        other.fill(256 * KiB);
        clock.advance(1000);
      }
    };
    press(2);
    for (const holder of still) expect(holder.stoodStill).not.toHaveBeenCalled();
    press(3);
    for (const holder of still) expect(holder.stoodStill).toHaveBeenCalled();
    expect(other.stoodStill).not.toHaveBeenCalled();
    expect(shares.stoodStillTotal).toBeGreaterThanOrEqual(6);
  });

  test('who holds memory that its device is at work on is not', () => {
    const working = greedy(6);
    for (const { stream } of working) Object.assign(stream, { leaving: -1 });
    const other = new Holder();
    for (let i = 0; i < 10; i++) {
      other.fill(256 * KiB);
      clock.advance(1000);
    }
    for (const holder of working) expect(holder.stoodStill).not.toHaveBeenCalled();
  });

  test('who takes slowly may hold as much as it takes in a moment, and everything again when it is calm', () => {
    const slow = greedy(6);
    const other = new Holder();
    for (let i = 0; i < 5; i++) {
      for (const holder of slow) holder.takes(100 * KiB);
      other.takes(10 * MiB);
      other.fill(256 * KiB);
      clock.advance(1000);
    }
    const [first] = slow;
    expect(first!.stoodStill).not.toHaveBeenCalled();
    expect(first!.account.over()).toBe(true);
    for (const holder of slow) holder.giveBack(1000);
    expect(first!.fill(64 * KiB).account.heldBytes).toBeLessThanOrEqual(512 * KiB);
    first!.giveBack(1000);
    clock.advance(15_000);
    expect(first!.fill(256 * KiB).account.heldBytes).toBe(HELD_MAX);
  });

  test('nobody is ended for what it waits for itself', () => {
    const alone = new Holder().fill(MiB);
    const { account } = alone;
    for (let i = 0; i < 10; i++) {
      shares.refused(account);
      clock.advance(1000);
    }
    expect(alone.stoodStill).not.toHaveBeenCalled();
  });
});

test('an account that is closed is neither called nor looked at', () => {
  const [first, second] = greedy(2);
  second!.account.wait();
  second!.account.close();
  first!.giveBack(3);
  turn();
  expect(second!.memoryBack).not.toHaveBeenCalled();
});
