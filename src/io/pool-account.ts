import { KiB } from '../common/units.js';
import type { PoolBuffer } from './pool.js';
import type { PoolShares, Shareholder } from './pool-shares.js';

/** Buffers that are asked for are smaller by this while memory is short. */
const SHORT_DIVISOR = 16;
const HALF_FULL_DIVISOR = 4;
/** Less than this between two looks is no movement. */
const CRAWL_BYTES = KiB;

/** What one connection holds of the pool. */
export class PoolAccount {
  readonly holder: Shareholder;
  heldBytes = 0;
  /** Most it may hold at present. */
  maxBytes: number;
  /** Looks in a row in which its peer neither took what waits to leave nor brought what is half here. */
  stillLooks = 0;
  private readonly shares: PoolShares;
  private arriving = -1;
  private leaving = -1;
  private sentBytes = 0;
  private receivedBytes = 0;

  constructor(shares: PoolShares, holder: Shareholder, maxBytes: number) {
    this.shares = shares;
    this.holder = holder;
    this.maxBytes = maxBytes;
  }

  /** A buffer on this account, or null: try again after something of the pool came back. */
  acquire(sizeBytes: number): PoolBuffer | null {
    if (sizeBytes > this.roomBytes()) {
      if (this.heldBytes + sizeBytes <= this.maxBytes) this.shares.refused(this);
      return null;
    }
    const buffer = this.shares.pool.acquire(sizeBytes);
    if (buffer !== null) this.heldBytes += buffer.sizeBytes;
    else this.shares.refused(this);
    return buffer;
  }

  /**
   * For a connection that holds nothing and finds no buffer of the size it wants: the largest smaller one, so
   * that it goes on, if slowly, while the others keep what they have.
   */
  acquireLess(sizeBytes: number, leastBytes: number): PoolBuffer | null {
    if (this.heldBytes > 0) return null;
    for (let size = sizeBytes / 4; size >= leastBytes; size /= 4) {
      const buffer = this.acquire(Math.ceil(size));
      if (buffer !== null) return buffer;
    }
    return null;
  }

  /** Size of the next buffer where one of `sizeBytes` would be best: smaller, the less of the pool is left. */
  fitting(sizeBytes: number, leastBytes: number): number {
    const { pool, allBytes } = this.shares;
    if (pool.usedBytes <= allBytes) return sizeBytes;
    const less = pool.scarce ? leastBytes : Math.floor(sizeBytes / SHORT_DIVISOR);
    return Math.min(sizeBytes, Math.max(less, leastBytes));
  }

  /** The same for what is to be received: until it is here nobody counts it, so it is small earlier. */
  fittingToReceive(sizeBytes: number, leastBytes: number): number {
    const { pool, largeTotalBytes } = this.shares;
    const size = pool.usedBytes > largeTotalBytes ? Math.floor(sizeBytes / HALF_FULL_DIVISOR) : sizeBytes;
    return this.fitting(Math.max(size, leastBytes), leastBytes);
  }

  /** More that it may hold now. The first buffer is everyone's, or a pool full of idle connections would stand still. */
  roomBytes(): number {
    const { heldBytes } = this;
    if (heldBytes === 0) return Number.POSITIVE_INFINITY;
    const { pool, smallBytes, largeTotalBytes, allBytes } = this.shares;
    const small = Math.min(smallBytes - heldBytes, allBytes - pool.usedBytes);
    const large = Math.min(this.maxBytes - heldBytes, largeTotalBytes - pool.usedBytes - heldBytes);
    return Math.max(small, large);
  }

  /** Holds more than it may have by now. */
  over(): boolean {
    return this.roomBytes() < 0;
  }

  /** Takes no more payload for now. A connection that holds nothing is never full. */
  full(): boolean {
    return this.roomBytes() <= 0;
  }

  /** May take payload again; well below full, so that it does not stop and go with every request. */
  relieved(): boolean {
    return this.roomBytes() > this.heldBytes;
  }

  wait(): void {
    this.shares.wait(this);
  }

  close(): void {
    this.shares.close(this);
  }

  /** From here on is looked at what its peer takes. */
  mark(): void {
    const { stream } = this.holder;
    this.stillLooks = 0;
    this.arriving = stream.arriving;
    this.leaving = stream.leaving;
    this.sentBytes = stream.sentBytes;
    this.receivedBytes = stream.receivedBytes;
  }

  look(paceLooks: number): void {
    const { stream } = this.holder;
    const { arriving, leaving, receivedBytes, sentBytes } = stream;
    const stood = (before: number, now: number) => before >= 0 && now >= 0 && now - before < CRAWL_BYTES;
    this.stillLooks =
      stood(this.arriving, arriving) || stood(this.leaving, leaving) ? this.stillLooks + 1 : 0;
    // Only of who has answers to take is known how fast it takes them.
    const pace = leaving < 0 ? this.shares.limits.heldMaxBytes : (sentBytes - this.sentBytes) * paceLooks;
    if (arriving < 0 && leaving < 0 && receivedBytes === this.receivedBytes) stream.shrink();
    this.receivedBytes = receivedBytes;
    this.maxBytes = Math.max(this.shares.smallBytes, Math.min(pace, this.shares.limits.heldMaxBytes));
    this.arriving = arriving;
    this.leaving = leaving;
    this.sentBytes = sentBytes;
  }
}
