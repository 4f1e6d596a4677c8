import type { Clock } from '../../common/clock.js';

/** Bounds copies to a rate over all volumes of a process: each waits until what was copied before has been paid for. */
export class CopyThrottle {
  private readonly clock: Clock;
  private readonly bytesPerMs: number;
  private paidAtMs = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock, bytesPerSecond: number) {
    this.clock = clock;
    this.bytesPerMs = bytesPerSecond / 1000;
  }

  async turn(): Promise<void> {
    for (;;) {
      const waitMs = this.paidAtMs - this.clock.nowMs();
      if (waitMs <= 0) return;
      await this.clock.sleep(waitMs);
    }
  }

  spend(bytes: number): void {
    this.paidAtMs = Math.max(this.paidAtMs, this.clock.nowMs()) + bytes / this.bytesPerMs;
  }
}
