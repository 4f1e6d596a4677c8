import type { AwakeTime } from './awake-time.js';
import type { StoredObject } from './stored-object.js';

export interface LeaseTimes {
  /** A lease is held while its holder renewed it within this. */
  readonly leaseMs: number;
  /** What is left of a lease when the connection of its holder is lost. */
  readonly lostGraceMs: number;
  /**
   * What a lease given before a restart of the MDS is good for after it: more than a third of `leaseMs`, the
   * period in which holders renew.
   */
  readonly restartMs: number;
}

export const DEFAULT_LEASE_TIMES: LeaseTimes = { leaseMs: 10_000, lostGraceMs: 2_000, restartMs: 4_000 };

/** Who asked: the connection, or whatever stands for one. Only its identity counts. */
export type Caller = object;

interface Held {
  readonly sessionEpoch: number;
  caller: Caller;
  untilMs: number;
}

/**
 * Which sessions are alive, by the time in which they could be heard. That there is a session, and whose, is in the store; a
 * lease only says whether its holder still shows signs of life, so forgetting one at a restart is harmless.
 * A lapsed lease ends nothing: it only lets the next one in.
 */
export class Leases {
  private readonly held = new Map<string, Held>();
  private readonly time: Pick<AwakeTime, 'nowMs'>;
  private readonly times: LeaseTimes;
  private restartUntilMs = Number.POSITIVE_INFINITY;
  private sweepAtMs = 0;

  constructor(time: Pick<AwakeTime, 'nowMs'>, times: LeaseTimes) {
    this.time = time;
    this.times = times;
  }

  /** Calls are taken from here on: only now holders of before can come back. */
  begin(): void {
    this.restartUntilMs = this.time.nowMs() + this.times.restartMs;
  }

  get leaseMs(): number {
    return this.times.leaseMs;
  }

  /** Sessions whose holders are alive, as far as known since the start. */
  get count(): number {
    const nowMs = this.time.nowMs();
    let count = 0;
    for (const held of this.held.values()) if (nowMs < held.untilMs) count++;
    return count;
  }

  take(objectId: string, sessionEpoch: number, caller: Caller): void {
    this.sweep();
    this.held.set(objectId, { sessionEpoch, caller, untilMs: this.time.nowMs() + this.times.leaseMs });
  }

  /** A sign of life. False when this session is not the one known here, which the store may know better. */
  renew(objectId: string, sessionEpoch: number, caller: Caller): boolean {
    const held = this.held.get(objectId);
    if (held === undefined || held.sessionEpoch !== sessionEpoch) return false;
    held.caller = caller;
    held.untilMs = this.time.nowMs() + this.times.leaseMs;
    return true;
  }

  /** Who renewed the lease last; it may have lapsed since. */
  holderOf(objectId: string): { caller: Caller; sessionEpoch: number } | null {
    return this.held.get(objectId) ?? null;
  }

  /** Objects with a lease, lapsed ones among them. */
  objects(): string[] {
    return [...this.held.keys()];
  }

  release(objectId: string): void {
    this.held.delete(objectId);
  }

  /** The connection is gone: its leases lapse soon, unless renewed by another one. */
  lost(caller: Caller): void {
    const untilMs = this.time.nowMs() + this.times.lostGraceMs;
    for (const held of this.held.values()) {
      if (held.caller === caller) held.untilMs = Math.min(held.untilMs, untilMs);
    }
  }

  /** Whether the object's session is to be left alone. */
  isHeld(stored: StoredObject): boolean {
    if (!stored.session.open) return false;
    const held = this.held.get(stored.object.id);
    if (held !== undefined && held.sessionEpoch === stored.session.epoch) {
      return this.time.nowMs() < held.untilMs;
    }
    // Given before this MDS started: its holder gets a moment to come back.
    return this.time.nowMs() < this.restartUntilMs;
  }

  private sweep(): void {
    const nowMs = this.time.nowMs();
    if (nowMs < this.sweepAtMs) return;
    this.sweepAtMs = nowMs + this.times.leaseMs;
    // A lapsed entry must outlive the restart time, or its session would count as one from before.
    if (nowMs < this.restartUntilMs) return;
    for (const [objectId, held] of this.held) if (nowMs >= held.untilMs) this.held.delete(objectId);
  }
}
