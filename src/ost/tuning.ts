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
 * A 32nd of the memory: with several OSTs on a machine still less than the kernel allows before it makes writers
 * wait inside their system call, where our answers would wait along.
 */
export function dirtyLimitFor(memoryBytes: number): number {
  return Math.max(128 * MiB, Math.min(GiB, memoryBytes / 32));
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
