import type { Clock } from '../common/clock.js';

/** Who still waits asks again long before. */
const ASKED_FOR_MS = 5000;
const TELL_AGAIN_MS = 500;

interface Wish {
  untilMs: number;
  toldAtMs: number;
}

/**
 * Objects that somebody waits for while another holds them (docs/consistency: handing over). In memory, and for a short
 * while: who waits asks again and again, so that nothing is owed to one that is gone.
 */
export class HandOvers {
  private readonly clock: Clock;
  /** Tells the object's holder that there is something new. */
  private readonly look: (id: string, reason: string) => void;
  private readonly wishes = new Map<string, Wish>();

  constructor(clock: Clock, look: (id: string, reason: string) => void) {
    this.clock = clock;
    this.look = look;
  }

  ask(id: string, who: string): void {
    const nowMs = this.clock.nowMs();
    for (const [other, { untilMs }] of this.wishes) if (nowMs >= untilMs) this.wishes.delete(other);
    const wish = this.wishes.get(id) ?? { untilMs: 0, toldAtMs: Number.NEGATIVE_INFINITY };
    this.wishes.set(id, wish);
    wish.untilMs = nowMs + ASKED_FOR_MS;
    if (nowMs - wish.toldAtMs < TELL_AGAIN_MS) return;
    wish.toldAtMs = nowMs;
    this.look(id, `'${who}' waits for it`);
  }

  isAsked(id: string): boolean {
    const wish = this.wishes.get(id);
    return wish !== undefined && this.clock.nowMs() < wish.untilMs;
  }

  /** Somebody has it now. */
  taken(id: string): void {
    this.wishes.delete(id);
  }
}
