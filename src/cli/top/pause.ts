import type { Context } from '../context.js';

/** Between two looks; ended early by the signal. */
export function pause(context: Context, ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const over = () => {
      timer.cancel();
      signal.removeEventListener('abort', over);
      resolve();
    };
    const timer = context.clock.after(ms, over);
    signal.addEventListener('abort', over);
  });
}
