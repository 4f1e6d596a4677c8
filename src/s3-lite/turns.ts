import type { Clock, Timer } from '../common/clock.js';

/** Who has waited so long goes without a turn: one that hangs does not hold up all that come behind it. */
const WAIT_MS = 5000;

/** Lets those of one key in one after another, so that they do not undo each other's tries. No more than a hint: others may be elsewhere. */
export class Turns {
  private readonly clock: Clock;
  /** Of each key the end of the last one that is to come. */
  private readonly last = new Map<string, Promise<void>>();

  constructor(clock: Clock) {
    this.clock = clock;
  }

  async run<T>(key: string, task: () => Promise<T>): Promise<T> {
    const before = this.last.get(key);
    let end = () => {};
    const ended = new Promise<void>((resolve) => {
      end = resolve;
    });
    const mine = before === undefined ? ended : before.then(() => ended);
    this.last.set(key, mine);
    if (before !== undefined) await this.atMost(before);
    try {
      return await task();
    } finally {
      end();
      if (this.last.get(key) === mine) void mine.then(() => this.forget(key, mine));
    }
  }

  private forget(key: string, one: Promise<void>): void {
    if (this.last.get(key) === one) this.last.delete(key);
  }

  private async atMost(before: Promise<void>): Promise<void> {
    let timer: Timer | undefined;
    const late = new Promise<void>((resolve) => {
      timer = this.clock.after(WAIT_MS, resolve);
    });
    await Promise.race([before, late]);
    timer?.cancel();
  }
}
