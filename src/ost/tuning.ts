import { totalmem } from 'node:os';
import { GiB, MiB } from '../common/units.js';

/** What an operator may change of an OST; sizes in bytes. */
export interface OstTuning {
  /** Chunk files kept open. */
  openFiles: number;
  /** Pages of 256 region epochs kept in memory, 2 KiB each. */
  regionPages: number;
  /** Dirty bytes of one file, close together, after which writing back begins. */
  writebackBytes: number;
  /** Dirty bytes of all files, not yet given to the disk, from which on answers to writes wait. */
  dirtyLimitBytes: number;
  /** Space on the disk left to the records and to other programs; null: 64 MiB or 1 %, whichever is less. */
  reserveBytes: number | null;
  /** Artificial limit on what chunks may occupy; null: what the disk has. */
  capacityBytes: number | null;
  heartbeatMs: number;
  connections: number;
  /** Copies from other OSTs running at once; more wait. */
  copies: number;
}

/**
 * A 16th of the memory; half of it while the machine's other writers leave less (see DirtyWatch). By default the kernel
 * begins to write back at a tenth.
 */
export function dirtyLimitFor(memoryBytes: number): number {
  return Math.max(128 * MiB, Math.min(2 * GiB, memoryBytes / 16));
}

export const DEFAULT_TUNING: OstTuning = {
  openFiles: 1024,
  regionPages: 32_768,
  writebackBytes: 8 * MiB,
  dirtyLimitBytes: dirtyLimitFor(Math.min(totalmem(), process.constrainedMemory() || totalmem())),
  reserveBytes: null,
  capacityBytes: null,
  heartbeatMs: 2000,
  connections: 4096,
  copies: 4,
};
