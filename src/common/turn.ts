import type { Clock } from './clock.js';

/** Long enough to be worth a round of the event loop, short beside what anybody waits for. */
const TURN_MS = 10;

/**
 * One turn of the event loop, for work of unknown length. Awaits that are answered at once, as LMDB's reads are, let nobody
 * else run, however many there are: heartbeats and leases would lapse meanwhile. Under virtual time it has no end.
 */
export class Turn {
  private readonly clock: Clock;
  private sinceMs: number;

  constructor(clock: Clock) {
    this.clock = clock;
    this.sinceMs = clock.nowMs();
  }

  /** To be asked between any two steps: where the turn was long enough others run, and may change anything. */
  async rest(): Promise<void> {
    if (this.clock.nowMs() - this.sinceMs < TURN_MS) return;
    await this.clock.sleep(0);
    this.sinceMs = this.clock.nowMs();
  }
}
