const FIRST_DELAY_MS = 100;
/** Guests wait for 30 s. */
const LONGEST_DELAY_MS = 10_000;
/** Having served this long, a server's next end counts as its first. */
const STEADY_MS = 10_000;

/** How long to wait before a server that has ended is started again. */
export class BackOff {
  private failures = 0;

  /** `servedMs`: how long it had been ready, 0 when it did not get there. */
  nextMs(servedMs: number): number {
    if (servedMs >= STEADY_MS) this.failures = 0;
    return Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** this.failures++);
  }
}
