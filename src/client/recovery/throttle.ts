import type { Clock, Timer } from '../../common/clock.js';

/**
 * Bounds copies to a rate over all volumes of a process: each begins when those before have been paid for, and takes
 * what it may come to in advance, so that copies which begin at once do not go by the same moment's credit.
 */
export class CopyThrottle {
  private readonly clock: Clock;
  private readonly bytesPerMs: number;
  private readonly waiting: { bytes: number; go: () => void }[] = [];
  private timer: Timer | null = null;
  private paidAtMs = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock, bytesPerSecond: number) {
    this.clock = clock;
    this.bytesPerMs = bytesPerSecond / 1000;
  }

  /** Somebody waits for the rate, and for nothing else. */
  get waits(): boolean {
    return this.waiting.length > 0;
  }

  /** In the order of asking. `release` must follow, when what was copied has been spent. */
  turn(bytes: number): Promise<void> {
    return new Promise((resolve) => {
      this.waiting.push({ bytes, go: resolve });
      this.next();
    });
  }

  spend(bytes: number): void {
    this.paidAtMs = Math.max(this.paidAtMs, this.clock.nowMs()) + bytes / this.bytesPerMs;
  }

  /** Gives back what a turn took: holes cost nothing. */
  release(bytes: number): void {
    this.paidAtMs -= bytes / this.bytesPerMs;
    this.next();
  }

  private next(): void {
    this.timer?.cancel();
    this.timer = null;
    while (this.waiting.length > 0) {
      const waitMs = this.paidAtMs - this.clock.nowMs();
      if (waitMs > 0) {
        this.timer = this.clock.after(waitMs, () => this.next());
        return;
      }
      const { bytes, go } = this.waiting.shift()!;
      this.spend(bytes);
      go();
    }
  }
}
