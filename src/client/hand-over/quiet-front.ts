import { BlockOp } from '../../block/device.js';
import type { Clock, Timer } from '../../common/clock.js';

const QUIET_MS = 50;
const LOOK_MS = 10;

/**
 * Judges by its requests whether a front-end that does not tell has stopped (NBD): what it changed last is flushed, as
 * QEMU does when it stops a guest, and nothing has been in flight for 50 ms.
 */
export class QuietFront {
  private unflushed = false;
  private requests = 0;
  private seen = -1;
  private sinceMs = 0;
  private asked = 0;
  private timer: Timer | null = null;

  /** A request was submitted. */
  note(op: number): void {
    this.requests++;
    if (op === BlockOp.FLUSH) this.unflushed = false;
    else if (op !== BlockOp.READ && op !== BlockOp.CACHE) this.unflushed = true;
  }

  /** What is asked without a request, of the map: counts as one that is in flight until it is answered. */
  async during<T>(answer: Promise<T>): Promise<T> {
    this.asked++;
    try {
      return await answer;
    } finally {
      this.asked--;
      this.requests++;
    }
  }

  /** Calls `stopped` as soon as it has, unless it watches already. @param idle whether nothing is in flight */
  watch(clock: Clock, idle: () => boolean, stopped: () => void): void {
    this.timer ??= clock.every(LOOK_MS, () => {
      if (this.look(idle(), clock.nowMs())) stopped();
    });
  }

  stop(): void {
    this.timer?.cancel();
    this.timer = null;
  }

  private look(idle: boolean, nowMs: number): boolean {
    if (!idle || this.asked > 0 || this.unflushed || this.seen !== this.requests) this.sinceMs = nowMs;
    this.seen = this.requests;
    return nowMs - this.sinceMs >= QUIET_MS;
  }
}
