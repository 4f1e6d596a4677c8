import type { Clock, Timer } from '../common/clock.js';

/** Calls of all connections that begin in one turn. */
const CALLS_PER_TURN = 8;
const TURN_MS = 1;

/** A connection with calls that wait for their turn. */
export interface Caller {
  /** Begins the oldest. @returns whether more wait */
  beginNext(): boolean;
}

/**
 * Lets the calls to one server begin some at a time, connections by turns. An answer may be a mebibyte, and what it
 * is made of several: all that lie in a gulp, made at once, would be hundreds. Calls that take long hold up no others.
 */
export class CallGate {
  private readonly clock: Clock;
  private readonly callers: Caller[] = [];
  private left = CALLS_PER_TURN;
  private timer: Timer | null = null;

  constructor(clock: Clock) {
    this.clock = clock;
  }

  /** Whether a call may begin at once. */
  admit(): boolean {
    if (this.callers.length > 0 || this.left === 0) return false;
    this.left--;
    this.arm();
    return true;
  }

  /** Its calls begin when it is their turn. Not for one that is in the queue. */
  queue(caller: Caller): void {
    this.callers.push(caller);
    this.arm();
  }

  close(): void {
    this.timer?.cancel();
    this.callers.length = 0;
  }

  private arm(): void {
    this.timer ??= this.clock.after(TURN_MS, () => this.turn());
  }

  private turn(): void {
    this.timer = null;
    this.left = CALLS_PER_TURN;
    while (this.left > 0 && this.callers.length > 0) {
      const caller = this.callers.shift()!;
      this.left--;
      if (caller.beginNext()) this.callers.push(caller);
    }
    if (this.callers.length > 0) this.arm();
  }
}
