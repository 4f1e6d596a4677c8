import { type BufferPool, LARGEST_BUFFER_BYTES, type PoolBuffer } from '../io/index.js';
import { VHOST_LIMITS } from './constants.js';

/**
 * Pool memory for what guests write. A guest may change a buffer while it is on its way: where several replicas or
 * checksums must see the same bytes, each write is copied once, and all of them are sent the copy.
 */
export class WriteCopies {
  readonly pieceMaxBytes = LARGEST_BUFFER_BYTES;
  private readonly pool: BufferPool;
  private heldBytes = 0;
  private waiting: (() => void)[] = [];
  private awaitsPool = false;

  constructor(pool: BufferPool) {
    this.pool = pool;
  }

  /** Null when there is none now: see `whenFree`. */
  acquire(lengthBytes: number): PoolBuffer | null {
    if (this.heldBytes > 0 && this.heldBytes + lengthBytes > VHOST_LIMITS.copiedBytes) return null;
    const buffer = this.pool.acquire(lengthBytes);
    if (buffer !== null) this.heldBytes += buffer.sizeBytes;
    return buffer;
  }

  release(buffer: PoolBuffer): void {
    this.heldBytes -= buffer.sizeBytes;
    buffer.release();
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
