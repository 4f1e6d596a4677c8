import type { Clock, Timer } from '../common/clock.js';

const PERIOD_MS = 250;
/** A process that comes to its timers this late was held up: nobody could tell it anything meanwhile. */
const HELD_UP_MS = 1000;

/**
 * Time in which this process could hear others. It stands still while the process is stopped, its machine paused or its loop busy: what
 * was not heard of then says nothing about who should have been heard, and frames that wait in sockets are read before anything lapses.
 */
export class AwakeTime {
  private readonly clock: Clock;
  private readonly timer: Timer;
  private lastTickMs: number;
  private heldUpMs = 0;

  constructor(clock: Clock) {
    this.clock = clock;
    this.lastTickMs = clock.nowMs();
    this.timer = clock.every(PERIOD_MS, () => this.tick());
  }

  /** Monotonic, and at most as fast as the clock: only differences mean anything. */
  nowMs(): number {
    // A question may come before the timer, as the first thing after a pause.
    return Math.min(this.clock.nowMs(), this.lastTickMs + HELD_UP_MS) - this.heldUpMs;
  }

  close(): void {
    this.timer.cancel();
  }

  private tick(): void {
    const nowMs = this.clock.nowMs();
    this.heldUpMs += Math.max(0, nowMs - this.lastTickMs - HELD_UP_MS);
    this.lastTickMs = nowMs;
  }
}
