import type { BufferPool, PoolBuffer } from '../io/pool.js';

/** Part of the pool that clients' data may fill; the rest is for the devices below, which need it to go on. */
const CLIENT_SHARE = 0.75;

/**
 * What one connection holds of the pool. It may hold as much as is still free of the clients' share: one
 * connection alone gets half of it, ever more of them ever less, and a newcomer always finds something,
 * however slowly the others read.
 */
export class PoolAccount {
  heldBytes = 0;
  private readonly pool: BufferPool;
  private readonly maxBytes: number;
  private readonly shareBytes: number;

  constructor(pool: BufferPool, maxBytes: number) {
    this.pool = pool;
    this.maxBytes = maxBytes;
    this.shareBytes = Math.floor(pool.capacityBytes * CLIENT_SHARE);
  }

  /** A buffer on this account, or null: try again after something of the pool came back. */
  acquire(sizeBytes: number): PoolBuffer | null {
    // The first buffer is everyone's, or a pool full of idle connections would stand still.
    if (this.heldBytes > 0 && this.heldBytes + sizeBytes > this.limitBytes()) return null;
    const buffer = this.pool.acquire(sizeBytes);
    if (buffer !== null) this.heldBytes += buffer.sizeBytes;
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

  /** Takes no more payload for now. A connection that holds nothing is never full. */
  full(): boolean {
    return this.heldBytes > 0 && this.heldBytes >= this.limitBytes();
  }

  /** May take payload again; well below full, so that it does not stop and go with every request. */
  relieved(): boolean {
    return this.heldBytes === 0 || this.heldBytes < this.limitBytes() / 2;
  }

  private limitBytes(): number {
    return Math.min(this.maxBytes, this.shareBytes - this.pool.usedBytes);
  }
}
