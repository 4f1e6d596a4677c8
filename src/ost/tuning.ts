import { MiB } from '../common/units.js';

/** What an operator may change of an OST; sizes in bytes. */
export interface OstTuning {
  /** Chunk files kept open. */
  openFiles: number;
  /** Pages of 256 region epochs kept in memory, 2 KiB each. */
  regionPages: number;
  /** Dirty bytes of one file after which writing back begins. */
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

export const DEFAULT_TUNING: OstTuning = {
  openFiles: 1024,
  regionPages: 32_768,
  writebackBytes: 8 * MiB,
  dirtyLimitBytes: 128 * MiB,
  reserveBytes: null,
  capacityBytes: null,
  heartbeatMs: 2000,
  connections: 4096,
  copies: 4,
};
