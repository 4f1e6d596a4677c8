import { performance } from 'node:perf_hooks';

/** Time is handed in, so that the same logic runs under virtual time. */
export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Monotonic milliseconds with fractions; only differences mean anything. */
  nowMs(): number;
  /** Milliseconds since 1970, for people and ids; never for decisions about safety. */
  wallMs(): number;
  after(delayMs: number, action: () => void): Timer;
  every(periodMs: number, action: () => void): Timer;
  sleep(delayMs: number): Promise<void>;
}

class SystemClock implements Clock {
  nowMs(): number {
    return performance.now();
  }
  wallMs(): number {
    // A clock that was never set may be before 1970, where ids and records cannot be.
    return Math.max(0, Date.now());
  }
  after(delayMs: number, action: () => void): Timer {
    const handle = setTimeout(action, delayMs);
    return { cancel: () => clearTimeout(handle) };
  }
  every(periodMs: number, action: () => void): Timer {
    const handle = setInterval(action, periodMs);
    return { cancel: () => clearInterval(handle) };
  }
  sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => setTimeout(resolve, delayMs));
  }
}

export const systemClock: Clock = new SystemClock();
