import type { Clock } from './clock.js';

/** Work saved up while nothing was asked, at most. */
const BURST_MS = 250;

/** Spreads background work so that it takes no more than so many bytes a second. */
export class Pace {
  private readonly clock: Clock;
  private bytesPerSec: number;
  private freeAtMs = 0;

  constructor(clock: Clock, bytesPerSec: number) {
    this.clock = clock;
    this.bytesPerSec = bytesPerSec;
  }

  set rate(bytesPerSec: number) {
    this.bytesPerSec = bytesPerSec;
    this.freeAtMs = 0;
  }

  /** Resolves when that much may be done; `share` below 1 makes it slower while others work. */
  async take(bytes: number, share = 1): Promise<void> {
    const nowMs = this.clock.nowMs();
    const fromMs = Math.max(this.freeAtMs, nowMs - BURST_MS);
    this.freeAtMs = fromMs + (bytes * 1000) / (this.bytesPerSec * share);
    if (this.freeAtMs > nowMs) await this.clock.sleep(this.freeAtMs - nowMs);
  }
}
