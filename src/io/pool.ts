import { assert } from '../common/assert.js';
import { KiB, MiB } from '../common/units.js';
import type { Memory, Releasable } from './memory.js';

const SLAB_BYTES = MiB;
/** Sizes that buffers come in. The largest holds the largest frame payload and its header with room to spare. */
const CLASS_BYTES = [4 * KiB, 16 * KiB, 64 * KiB, 256 * KiB, MiB] as const;

export const LARGEST_BUFFER_BYTES = MiB;

/** With more of it in use, buffers that may be small should be. */
const SCARCE_PART = 7 / 8;

/** A counted piece of the pool. Whoever keeps it past a call retains it; at the last release it is free again. */
export class PoolBuffer implements Releasable {
  readonly memory: Memory;
  readonly offset: number;
  readonly sizeBytes: number;
  refs = 0;
  private readonly slab: Slab;
  private readonly pool: BufferPool;

  constructor(pool: BufferPool, slab: Slab, memory: Memory, offset: number, sizeBytes: number) {
    this.pool = pool;
    this.slab = slab;
    this.memory = memory;
    this.offset = offset;
    this.sizeBytes = sizeBytes;
  }

  retain(): this {
    this.refs++;
    return this;
  }

  release(): void {
    assert(this.refs > 0, 'pool buffer released once too often');
    if (--this.refs === 0) this.pool.recycle(this, this.slab);
  }

  /**
   * Back as if it had never been acquired: nobody who waits is told. For who needs several and does not get all: each that waits so
   * would else have all others try again, and they it.
   */
  unacquire(): void {
    assert(this.refs === 1, 'pool buffer that is shared cannot be taken back');
    this.refs = 0;
    this.pool.putBack(this, this.slab);
  }
}

/** A mebibyte cut into buffers of one class. Goes back to the common stock when all of them are free. */
interface Slab {
  readonly offset: number;
  readonly free: PoolBuffer[];
  readonly total: number;
  readonly classIndex: number;
}

/**
 * Buffers over one mapping, in five size classes, handed out and taken back without touching the
 * allocator. When it is used up `acquire` answers null and the caller waits with `whenFree`: that is where
 * backpressure begins.
 */
export class BufferPool {
  readonly memory: Memory;
  readonly capacityBytes: number;
  usedBytes = 0;
  /** Told of every `acquire` that answers null. */
  onRefused: ((sizeBytes: number) => void) | null = null;
  private readonly stock: number[] = [];
  private readonly partial: Slab[][] = CLASS_BYTES.map(() => []);
  private waiters: (() => void)[] = [];
  private readonly scarceBytes: number;

  constructor(memory: Memory) {
    this.memory = memory;
    this.capacityBytes = Math.floor(memory.bytes.length / SLAB_BYTES) * SLAB_BYTES;
    this.scarceBytes = this.capacityBytes * SCARCE_PART;
    // The lowest offsets are on top: a little-used pool touches few pages.
    for (let at = this.capacityBytes - SLAB_BYTES; at >= 0; at -= SLAB_BYTES) this.stock.push(at);
  }

  /** Little is left: whoever can do with a small buffer should. */
  get scarce(): boolean {
    return this.usedBytes > this.scarceBytes;
  }

  /** A buffer of at least `sizeBytes` (at most 1 MiB), counted once, or null when there is none now. */
  acquire(sizeBytes: number): PoolBuffer | null {
    const classIndex = classOf(sizeBytes);
    const slabs = this.partial[classIndex]!;
    let slab = slabs[slabs.length - 1];
    if (slab === undefined) {
      const offset = this.stock.pop() ?? this.reclaim();
      if (offset === undefined) {
        this.onRefused?.(sizeBytes);
        return null;
      }
      slab = this.cut(offset, classIndex);
      slabs.push(slab);
    }
    const buffer = slab.free.pop()!;
    if (slab.free.length === 0) slabs.pop();
    buffer.refs = 1;
    this.usedBytes += buffer.sizeBytes;
    return buffer;
  }

  /** Calls back once, the next time anything is free again; the caller then tries `acquire` again. */
  whenFree(callback: () => void): void {
    this.waiters.push(callback);
  }

  recycle(buffer: PoolBuffer, slab: Slab): void {
    this.putBack(buffer, slab);
    if (this.waiters.length > 0) {
      const waiting = this.waiters;
      this.waiters = [];
      for (const callback of waiting) callback();
    }
  }

  putBack(buffer: PoolBuffer, slab: Slab): void {
    this.usedBytes -= buffer.sizeBytes;
    const slabs = this.partial[slab.classIndex]!;
    if (slab.free.push(buffer) === 1) slabs.push(slab);
    // One whole slab a class stays cut, so that a queue depth of one does not cut it anew each time.
    if (slab.free.length === slab.total && slabs.length > 1) {
      slabs.splice(slabs.indexOf(slab), 1);
      this.stock.push(slab.offset);
    }
  }

  /** Takes back a slab that a class keeps cut without using it, or undefined. */
  private reclaim(): number | undefined {
    for (const slabs of this.partial) {
      const at = slabs.findIndex((slab) => slab.free.length === slab.total);
      if (at >= 0) return slabs.splice(at, 1)[0]!.offset;
    }
    return undefined;
  }

  private cut(offset: number, classIndex: number): Slab {
    const sizeBytes = CLASS_BYTES[classIndex]!;
    const total = Math.floor(SLAB_BYTES / sizeBytes);
    const slab: Slab = { offset, free: [], total, classIndex };
    for (let i = total - 1; i >= 0; i--) {
      slab.free.push(new PoolBuffer(this, slab, this.memory, offset + i * sizeBytes, sizeBytes));
    }
    return slab;
  }
}

function classOf(sizeBytes: number): number {
  for (let i = 0; i < CLASS_BYTES.length; i++) if (sizeBytes <= CLASS_BYTES[i]!) return i;
  throw new RangeError(`no pool buffer holds ${sizeBytes} bytes, the largest is ${LARGEST_BUFFER_BYTES}`);
}
