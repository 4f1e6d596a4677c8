import type { BufferPool, PoolBuffer } from '../io/pool.js';

/** Buffers of one request: all that it needs, or none. */
export class Buffers {
  readonly all: PoolBuffer[] = [];

  /** False, and nothing is held, when there is no memory now. */
  take(pool: BufferPool, sizeBytes: number): boolean {
    const buffer = pool.acquire(sizeBytes);
    if (buffer === null) {
      for (const taken of this.all) taken.unacquire();
      this.all.length = 0;
      return false;
    }
    this.all.push(buffer);
    return true;
  }

  giveBack(): void {
    for (const buffer of this.all) buffer.release();
    this.all.length = 0;
  }
}
