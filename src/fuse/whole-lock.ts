import type { LockHolder, RangeLocks } from '../client/index.js';

/** Does something while no write to the range is under way. */
export async function withLock<T>(
  locks: RangeLocks,
  lockStart: number,
  lockEnd: number,
  action: () => Promise<T>,
): Promise<T> {
  let isGranted = () => {};
  const granted = new Promise<void>((resolve) => {
    isGranted = resolve;
  });
  const holder: LockHolder = {
    lockStart,
    lockEnd,
    lockExclusive: true,
    lockSlot: -1,
    lockGranted: () => isGranted(),
  };
  if (!locks.acquire(holder)) await granted;
  try {
    return await action();
  } finally {
    locks.release(holder);
  }
}
