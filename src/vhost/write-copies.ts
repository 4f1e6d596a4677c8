import {
  type BufferPool,
  LARGEST_BUFFER_BYTES,
  type MemoryShare,
  MemoryShares,
  type PoolBuffer,
} from '../io/index.js';
import { VHOST_LIMITS } from './constants.js';

/** Of a pool, for the copies of all its devices; the rest is for what brings their answers. */
const LARGE_PART = 3 / 8;
const ALL_PART = 1 / 2;

const sharesOf = new WeakMap<BufferPool, MemoryShares>();

function sharesIn(pool: BufferPool): MemoryShares {
  let shares = sharesOf.get(pool);
  if (shares === undefined) {
    const { capacityBytes } = pool;
    shares = new MemoryShares(capacityBytes * LARGE_PART, capacityBytes * ALL_PART);
    sharesOf.set(pool, shares);
  }
  return shares;
}

/**
 * Pool memory for what guests write. A guest may change a buffer while it is on its way: where several replicas or
 * checksums must see the same bytes, each write is copied once, and all of them are sent the copy. Those of a volume whose replicas are away stay where they are: so all devices of a
 * pool have shares, and leave of it what others need to get on.
 */
export class WriteCopies {
  readonly pieceMaxBytes = LARGEST_BUFFER_BYTES;
  private readonly pool: BufferPool;
  private readonly share: MemoryShare;
  private waiting: (() => void)[] = [];
  private awaitsPool = false;

  constructor(pool: BufferPool) {
    this.pool = pool;
    this.share = sharesIn(pool).open(VHOST_LIMITS.copiedBytes);
  }

  /** Null when there is none now: see `whenFree`. */
  acquire(lengthBytes: number): PoolBuffer | null {
    return this.pool.scarce ? null : this.share.acquire(this.pool, lengthBytes);
  }

  release(buffer: PoolBuffer): void {
    this.share.release(buffer);
    this.wake();
  }

  /** Calls back once, in the order of asking. */
  whenFree(callback: () => void): void {
    this.waiting.push(callback);
    if (this.awaitsPool) return;
    this.awaitsPool = true;
    this.pool.whenFree(() => {
      this.awaitsPool = false;
      this.wake();
    });
  }

  private wake(): void {
    if (this.waiting.length === 0) return;
    const waiting = this.waiting;
    this.waiting = [];
    for (const callback of waiting) callback();
  }
}
