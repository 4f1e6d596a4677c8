import type { Clock, Timer } from './clock.js';

const PERIOD_MS = 20;

/**
 * How long this process's event loop was held up at the longest: nothing is answered meanwhile. Seen by a timer that
 * comes late, so up to 20 ms too little. A process that was stopped was held up as well.
 */
export class LoopStall {
  /** Since the start. */
  maxMs = 0;
  private readonly timer: Timer;

  constructor(clock: Clock, onStall: (stallMs: number) => void = () => {}) {
    let dueMs = clock.nowMs() + PERIOD_MS;
    this.timer = clock.every(PERIOD_MS, () => {
      const nowMs = clock.nowMs();
      const stallMs = nowMs - dueMs;
      dueMs = nowMs + PERIOD_MS;
      if (stallMs <= this.maxMs) return;
      this.maxMs = stallMs;
      onStall(stallMs);
    });
  }

  stop(): void {
    this.timer.cancel();
  }
}
