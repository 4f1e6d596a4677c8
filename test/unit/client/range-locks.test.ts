import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type LockHolder, RangeLocks } from '../../../src/client/range-locks.js';

class Holder implements LockHolder {
  lockSlot = -1;
  held = false;
  readonly lockStart: number;
  readonly lockEnd: number;
  readonly lockExclusive: boolean;
  readonly order: number;
  constructor(start: number, length: number, exclusive: boolean, order: number) {
    this.lockStart = start;
    this.lockEnd = start + length;
    this.lockExclusive = exclusive;
    this.order = order;
  }
  lockGranted(): void {
    this.held = true;
  }
}

const overlap = (a: LockHolder, b: LockHolder) => a.lockStart < b.lockEnd && b.lockStart < a.lockEnd;
const clash = (a: LockHolder, b: LockHolder) => overlap(a, b) && (a.lockExclusive || b.lockExclusive);

test('no two clashing locks are ever held, the first to ask comes first, all are served', () => {
  const step = fc.oneof(
    fc.record({
      kind: fc.constant('acquire' as const),
      start: fc.integer({ min: 0, max: 40 }),
      length: fc.integer({ min: 1, max: 12 }),
      exclusive: fc.boolean(),
    }),
    fc.record({ kind: fc.constant('release' as const), pick: fc.nat() }),
    fc.record({ kind: fc.constant('cancel' as const), pick: fc.nat() }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
      const locks = new RangeLocks();
      let live: Holder[] = [];
      let order = 0;
      const check = () => {
        const held = live.filter((one) => one.held);
        for (const a of held) for (const b of held) if (a !== b) expect(clash(a, b)).toBe(false);
        // Who waits has a reason: a clash with a held lock or with an earlier waiter.
        for (const a of live.filter((one) => !one.held)) {
          expect(live.some((b) => b !== a && clash(a, b) && (b.held || b.order < a.order))).toBe(true);
        }
        expect(locks.heldCount).toBe(held.length);
        expect(locks.waitingCount).toBe(live.length - held.length);
      };
      const drop = (holder: Holder) => {
        live = live.filter((one) => one !== holder);
        if (holder.held) locks.release(holder);
        else locks.cancel(holder);
      };
      for (const one of steps) {
        if (one.kind === 'acquire') {
          const holder = new Holder(one.start, one.length, one.exclusive, order++);
          live.push(holder);
          holder.held = locks.acquire(holder);
        } else {
          const among = live.filter((holder) => holder.held === (one.kind === 'release'));
          if (among.length > 0) drop(among[one.pick % among.length]!);
        }
        check();
      }
      while (live.length > 0) {
        drop(live.find((holder) => holder.held)!);
        check();
      }
    }),
    { numRuns: 300 },
  );
});

test('a granted holder may release at once', () => {
  const locks = new RangeLocks();
  const done: number[] = [];
  const first = new Holder(0, 10, true, 0);
  locks.acquire(first);
  for (let i = 1; i <= 200; i++) {
    const next = new Holder(i % 10, 1, true, i);
    next.lockGranted = () => {
      done.push(i);
      locks.release(next);
    };
    expect(locks.acquire(next)).toBe(false);
  }
  locks.release(first);
  expect(done.length).toBe(200);
  expect(locks.heldCount).toBe(0);
});

test('in-flight writes are listed, reads are not', () => {
  const locks = new RangeLocks();
  locks.acquire(new Holder(0, 10, false, 0));
  locks.acquire(new Holder(100, 10, true, 1));
  const seen: number[][] = [];
  locks.forEachExclusive((start, end) => seen.push([start, end]));
  expect(seen).toEqual([[100, 110]]);
});
