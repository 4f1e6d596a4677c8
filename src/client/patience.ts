import type { Clock } from '../common/clock.js';
import { asRawstorError, type ErrorCode, RawstorError } from '../common/errors.js';

/** How long a server that is away is waited for; without one of these it is tried once. */
export interface Patience {
  /** By the monotonic clock. */
  readonly untilMs: number;
  /** Told once, when the waiting begins. */
  readonly onWaiting?: (reason: RawstorError) => void;
  /** Whether there is nobody left to wait for it. */
  readonly ended?: () => boolean;
}

const RETRY_MS = 200;
/** Of a server that may be there in a moment. Whatever else is wrong is wrong the next time too. */
const AWAY: ReadonlySet<ErrorCode> = new Set([
  'UNAVAILABLE',
  'TIMEOUT',
  'CONNECTION_LOST',
  'BUSY',
  'LIMIT',
  // A Unix socket that its server has not made yet.
  'NOT_FOUND',
]);

/** Tries until it works, until something is wrong that waiting does not mend, or patience ends. @throws what `work` throws */
export async function patiently<T>(
  clock: Clock,
  patience: Patience | undefined,
  work: () => Promise<T>,
): Promise<T> {
  let waiting = false;
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (patience === undefined) throw error;
      const failure = asRawstorError(error);
      const over = clock.nowMs() + RETRY_MS > patience.untilMs || patience.ended?.() === true;
      if (over || !isAway(failure)) throw failure;
      if (!waiting) patience.onWaiting?.(failure);
      waiting = true;
      await clock.sleep(RETRY_MS);
    }
  }
}

/** One try must not take much longer than there is patience for. */
export function tryTimeoutMs(clock: Clock, patience: Patience | undefined, usualMs: number): number {
  const leftMs = patience === undefined ? usualMs : patience.untilMs - clock.nowMs();
  return leftMs <= 0 ? usualMs : Math.min(usualMs, Math.max(RETRY_MS, leftMs));
}

/** What says of several servers that none answers has the most hopeful of their reasons as its cause. */
function isAway({ code, cause }: RawstorError): boolean {
  return AWAY.has(code) && (!(cause instanceof RawstorError) || isAway(cause));
}

export function mostHopeful(failures: readonly RawstorError[]): RawstorError | undefined {
  return failures.find(isAway) ?? failures[0];
}
