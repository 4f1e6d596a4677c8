import type { Clock, Timer } from '../common/clock.js';

interface Waiting {
  readonly sinceMs: number;
  readonly timer: Timer | null;
  readonly answer: (isTurn: boolean) => void;
}

/**
 * So many copies at a time. Who waits is told after a while that it waits still, and asks again: so a queue, however long, is not taken
 * for a copy that hangs. Whoever has waited longest, all times together, comes next.
 */
export class CopyTurns {
  private readonly clock: Clock;
  private readonly limit: number;
  private readonly answerMs: number;
  private running = 0;
  private readonly waiting = new Set<Waiting>();

  constructor(clock: Clock, limit: number, answerMs: number) {
    this.clock = clock;
    this.limit = limit;
    this.answerMs = answerMs;
  }

  /**
   * @param waitedMs before, in vain; null: by a client of before there was such an answer, which waits
   * @returns true: it is its turn, and `end` follows; false: not yet
   */
  begin(waitedMs: number | null): Promise<boolean> {
    if (this.running < this.limit) {
      this.running++;
      return Promise.resolve(true);
    }
    return new Promise((resolve) => {
      const timer =
        waitedMs === null
          ? null
          : this.clock.after(this.answerMs, () => {
              this.waiting.delete(one);
              resolve(false);
            });
      const one = { sinceMs: this.clock.nowMs() - (waitedMs ?? 0), timer, answer: resolve };
      this.waiting.add(one);
    });
  }

  end(): void {
    this.running--;
    let first: Waiting | null = null;
    for (const one of this.waiting) if (first === null || one.sinceMs < first.sinceMs) first = one;
    if (first === null) return;
    this.running++;
    this.waiting.delete(first);
    first.timer?.cancel();
    first.answer(true);
  }
}
