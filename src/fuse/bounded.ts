import type { Clock } from '../common/clock.js';

/** Waits for something that has no errors. @returns false: it was not done in time */
export function within(clock: Clock, limitMs: number, done: Promise<void>): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = clock.after(limitMs, () => resolve(false));
    void done.then(() => {
      timer.cancel();
      resolve(true);
    });
  });
}
