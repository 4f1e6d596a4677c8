import type { Clock, Timer } from '../common/clock.js';
import { KiB } from '../common/units.js';
import { PoolAccount } from './pool-account.js';
import type { BatchTask, Io, Stream } from './types.js';

/** One who holds buffers for its peer: a connection. */
export interface Shareholder {
  readonly stream: Stream;
  /** There may be memory for it again. */
  memoryBack(): void;
  /** Others wait for what it holds, and its peer neither takes nor brings anything. It is to be ended. */
  stoodStill(): void;
}

export interface PoolShareLimits {
  /** Most that one of them ever holds. */
  readonly heldMaxBytes: number;
  /** How long a peer may stand still while others wait for memory. */
  readonly stillMs: number;
}

/** Of the pool: what large shares may fill together, and what everybody's may. */
const LARGE_PART = 1 / 2;
const ALL_PART = 3 / 4;
/** A share that counts as small, and is found as long as not everything is full of those. */
const SMALL_PART = 1 / 256;
const SMALL_MIN_BYTES = 64 * KiB;
/** Peers that stand still are left alone while they hold less than this part together. */
const STILL_PART = 1 / 8;
const LOOK_MS = 1000;
/** Looks without a refusal after which nobody is short of memory any more. */
const CALM_LOOKS = 10;
/** Under pressure, a holder may have as much as its peer takes in so many looks. */
const PACE_LOOKS = 4;

/**
 * Divides a pool among connections. Beyond a small share, all together fill half of the pool, and each gets as
 * much as is left of that: one alone its fill, ever more of them ever less. The next quarter is for small shares
 * only, so that a request of a few kilobytes, or the one of 1 MiB, finds memory whatever others hold. The rest is
 * for first buffers and for what lies below.
 *
 * While somebody is refused for what others hold, each is held to the pace at which its peer takes its answers;
 * peers that stand still are ended after a time, and what lies ready for those that are idle is taken back.
 */
export class PoolShares implements BatchTask {
  readonly pool: Io['pool'];
  readonly limits: PoolShareLimits;
  readonly smallBytes: number;
  readonly largeTotalBytes: number;
  readonly allBytes: number;
  /** Holders that were ended because they stood still. */
  stoodStillTotal = 0;
  private readonly io: Pick<Io, 'pool' | 'schedule'>;
  private readonly clock: Clock;
  private readonly accounts = new Set<PoolAccount>();
  private waiting = new Set<PoolAccount>();
  private listening = false;
  private timer: Timer | null = null;
  /** Who was refused for what others hold since the last look. */
  private refusedOne: PoolAccount | null = null;
  private refusedMany = false;
  private calmLooks = 0;

  constructor(io: Pick<Io, 'pool' | 'schedule'>, clock: Clock, limits: PoolShareLimits) {
    const { capacityBytes } = io.pool;
    this.io = io;
    this.pool = io.pool;
    this.clock = clock;
    this.limits = limits;
    this.smallBytes = Math.max(SMALL_MIN_BYTES, Math.floor(capacityBytes * SMALL_PART));
    this.largeTotalBytes = Math.floor(capacityBytes * LARGE_PART);
    this.allBytes = Math.floor(capacityBytes * ALL_PART);
  }

  open(holder: Shareholder): PoolAccount {
    const account = new PoolAccount(this, holder, this.limits.heldMaxBytes);
    this.accounts.add(account);
    return account;
  }

  close(account: PoolAccount): void {
    this.accounts.delete(account);
    this.waiting.delete(account);
    if (this.refusedOne === account) this.refusedOne = null;
    if (this.accounts.size === 0) this.stop();
  }

  /** Calls the holder back when something of the pool came back and it may have some. */
  wait(account: PoolAccount): void {
    this.waiting.add(account);
    this.listen();
  }

  /** Of an account, for what others hold. */
  refused(account: PoolAccount): void {
    if (this.refusedOne === null) this.refusedOne = account;
    else if (this.refusedOne !== account) this.refusedMany = true;
    if (this.timer !== null) return;
    this.calmLooks = 0;
    for (const each of this.accounts) each.mark();
    this.timer = this.clock.after(LOOK_MS, () => this.look());
  }

  /** At most once a turn, however many buffers came back in it. */
  runBatch(): void {
    const { waiting } = this;
    this.waiting = new Set();
    for (const account of waiting) {
      if (account.roomBytes() > 0) account.holder.memoryBack();
      else this.waiting.add(account);
    }
    if (this.waiting.size > 0) this.listen();
  }

  private listen(): void {
    if (this.listening) return;
    this.listening = true;
    this.pool.whenFree(this.onFree);
  }

  private readonly onFree = (): void => {
    this.listening = false;
    this.io.schedule(this);
  };

  private look(): void {
    this.timer = null;
    const { refusedOne, refusedMany } = this;
    this.refusedOne = null;
    this.refusedMany = false;
    this.calmLooks = refusedOne === null ? this.calmLooks + 1 : 0;
    if (this.calmLooks >= CALM_LOOKS) {
      for (const account of this.accounts) account.maxBytes = this.limits.heldMaxBytes;
      this.wakeAll();
      return;
    }
    const still: PoolAccount[] = [];
    let stillBytes = 0;
    for (const account of this.accounts) {
      account.look(PACE_LOOKS);
      const waitedForByOthers = refusedMany || (refusedOne !== null && refusedOne !== account);
      if (!waitedForByOthers || account.stillLooks * LOOK_MS < this.limits.stillMs) continue;
      still.push(account);
      stillBytes += account.heldBytes + account.holder.stream.receivingBytes;
    }
    this.timer = this.clock.after(LOOK_MS, () => this.look());
    this.wakeAll();
    if (stillBytes < this.pool.capacityBytes * STILL_PART) return;
    this.stoodStillTotal += still.length;
    for (const account of still) account.holder.stoodStill();
  }

  /** Shares have changed without a buffer coming back. */
  private wakeAll(): void {
    if (this.waiting.size > 0) this.io.schedule(this);
  }

  private stop(): void {
    this.timer?.cancel();
    this.timer = null;
    this.refusedOne = null;
    this.refusedMany = false;
  }
}
