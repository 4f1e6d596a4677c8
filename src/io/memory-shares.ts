import type { BufferPool, PoolBuffer } from './pool.js';

/**
 * Divides memory among those who hold some for long: for as long as others do not answer. Each may have as much as is left for
 * all, so one alone has half, ever more of them ever less; and one that holds nothing may have one piece while anything
 * is left of the whole. So those that wait leave room for those that do not.
 */
export class MemoryShares {
  readonly largeTotalBytes: number;
  readonly allBytes: number;
  heldBytes = 0;

  /** @param largeTotalBytes what large shares may fill together. @param allBytes also those with one piece each */
  constructor(largeTotalBytes: number, allBytes: number) {
    this.largeTotalBytes = largeTotalBytes;
    this.allBytes = allBytes;
  }

  open(maxBytes = this.largeTotalBytes): MemoryShare {
    return new MemoryShare(this, maxBytes);
  }
}

/** What one of them holds. */
export class MemoryShare {
  heldBytes = 0;
  private readonly shares: MemoryShares;
  private readonly maxBytes: number;

  constructor(shares: MemoryShares, maxBytes: number) {
    this.shares = shares;
    this.maxBytes = maxBytes;
  }

  mayHave(moreBytes: number): boolean {
    const { heldBytes, largeTotalBytes, allBytes } = this.shares;
    if (this.heldBytes === 0) return heldBytes + moreBytes <= allBytes;
    return this.heldBytes + moreBytes <= Math.min(this.maxBytes, largeTotalBytes - heldBytes);
  }

  took(bytes: number): void {
    this.heldBytes += bytes;
    this.shares.heldBytes += bytes;
  }

  gave(bytes: number): void {
    this.heldBytes -= bytes;
    this.shares.heldBytes -= bytes;
  }

  /** Null where the pool has none now, or this may have none: the pool's `whenFree` tells of both. */
  acquire(pool: BufferPool, sizeBytes: number): PoolBuffer | null {
    const buffer = this.mayHave(sizeBytes) ? pool.acquire(sizeBytes) : null;
    if (buffer !== null) this.took(buffer.sizeBytes);
    return buffer;
  }

  release(buffer: PoolBuffer): void {
    this.gave(buffer.sizeBytes);
    buffer.release();
  }
}
