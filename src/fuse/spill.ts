import { mapAnonymous } from '../io/index.js';
import type { Memory, Releasable } from '../io/memory.js';
import { FUSE_LIMITS } from './constants.js';

/** A part of memory that its owner gives back. */
export interface Held {
  readonly memory: Memory;
  readonly offset: number;
  readonly owner: Releasable;
}

/**
 * Memory for large writes that are stuck, so that these do not keep all of what messages come in: volumes that wait for their OSTs keep
 * nobody from names and other volumes.
 */
export class Spill {
  private usedBytes = 0;

  /** Null when there is none left. */
  take(lengthBytes: number): Held | null {
    if (this.usedBytes + lengthBytes > FUSE_LIMITS.spilledBytes) return null;
    const memory = mapAnonymous(lengthBytes);
    this.usedBytes += lengthBytes;
    const release = () => {
      memory.unmap();
      this.usedBytes -= lengthBytes;
    };
    return { memory, offset: 0, owner: { release } };
  }
}
