import { expect, test } from 'vitest';
import type { Clock, Timer } from '../../../src/common/clock.js';
import { LoopStall } from '../../../src/common/loop-stall.js';

/** A loop whose timers come late when a test says so. */
class LateClock implements Clock {
  now = 0;
  private period = { everyMs: 0, action: () => {} };
  nowMs = () => this.now;
  wallMs = () => 0;
  after(): Timer {
    throw new Error('not asked for');
  }
  sleep(): Promise<void> {
    throw new Error('not asked for');
  }
  every(everyMs: number, action: () => void): Timer {
    this.period = { everyMs, action };
    return { cancel: () => (this.period = { everyMs, action: () => {} }) };
  }
  tick(lateMs = 0): void {
    this.now += this.period.everyMs + lateMs;
    this.period.action();
  }
}

test('the longest stall is kept, of one time only', () => {
  const clock = new LateClock();
  const told: number[] = [];
  const stall = new LoopStall(clock, (stallMs) => told.push(stallMs));
  clock.tick();
  expect(stall.maxMs).toBe(0);
  clock.tick(300);
  clock.tick(120);
  clock.tick();
  expect(stall.maxMs).toBe(300);
  clock.tick(450);
  expect(stall.maxMs).toBe(450);
  expect(told).toEqual([300, 450]);
  stall.stop();
  clock.tick(9000);
  expect(stall.maxMs).toBe(450);
});
