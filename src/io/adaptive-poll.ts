import { performance } from 'node:perf_hooks';

/** Longest wait on the CPU before sleeping, unless said otherwise. */
export const POLL_MAX_US = 50;
/** Enough to outlast a short lull. */
const CREDIT_MAX = 16;
/** What it takes to wait at all: one short sleep among long ones is no reason. */
const CREDIT_NEEDED = 4;
/** A wait in vain costs more than a good one saves: polling goes on while three of four are good. */
const MISS = 3;

/**
 * Decides whether to wait for the next completion on the CPU instead of going to sleep. Falling asleep and being
 * woken costs both sides some 20 us, more across the CPUs of a virtual machine, so a short wait is cheaper; but
 * only where completions do come soon. Sleeps that turn out short earn credit, long ones and waits in vain
 * lose it: an idle or slowly loaded process never polls, nor one that waits for its disk every other time or
 * that keeps the CPU from whom it waits for.
 */
export class AdaptivePoll {
  private readonly maxUs: number;
  private readonly wait: (maxNs: number) => boolean;
  private credit = 0;
  private asleepSinceMs = 0;

  /** `wait` waits on the CPU and answers whether something came. `maxUs` 0: never. */
  constructor(maxUs: number, wait: (maxNs: number) => boolean) {
    this.maxUs = maxUs;
    this.wait = wait;
  }

  /** Waits, where it has been worth it lately; true when something came. */
  cameSoon(): boolean {
    if (this.credit < CREDIT_NEEDED) return false;
    const came = this.wait(this.maxUs * 1000);
    this.judge(came);
    return came;
  }

  fallsAsleep(nowMs = performance.now()): void {
    this.asleepSinceMs = nowMs;
  }

  wakes(nowMs = performance.now()): void {
    this.judge((nowMs - this.asleepSinceMs) * 1000 < this.maxUs);
  }

  private judge(soon: boolean): void {
    this.credit = soon ? Math.min(CREDIT_MAX, this.credit + 1) : Math.max(0, this.credit - MISS);
  }
}
