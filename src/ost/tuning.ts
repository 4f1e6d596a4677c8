import { totalmem } from 'node:os';
import { GiB, KiB, MiB } from '../common/units.js';

/** What an operator may change of an OST; sizes in bytes. */
export interface OstTuning {
  /** Chunk files kept open. */
  openFiles: number;
  /** Pages of 256 region epochs kept in memory, 2 KiB each. */
  regionPages: number;
  /** Regions of layered chunks of which it is remembered where their blocks are, 2 KiB each. */
  layerMaps: number;
  /** Dirty bytes of one file, close together, after which writing back begins. */
  writebackBytes: number;
  /** Dirty bytes of all files, not yet given to the disk, from which on answers to writes wait. */
  dirtyLimitBytes: number;
  /** Space on the disk left to the records and to other programs; null: 64 MiB or 1 %, whichever is less. */
  reserveBytes: number | null;
  /** Artificial limit on what chunks may occupy; null: what the disk has. */
  capacityBytes: number | null;
  heartbeatMs: number;
  /** How often it is looked for what is nobody's. */
  collectPeriodMs: number;
  connections: number;
  /** Copies from other OSTs running at once; more wait. */
  copies: number;
  /** After so long one that waits is told that it waits still. */
  copyAnswerMs: number;
  /** Checksums of stored blocks are kept and verified. */
  checksums: boolean;
  /** Regions whose checksums are kept in memory, 4 KiB each. */
  sumCacheRegions: number;
  /**
   * How long a sealed region is left alone after a write before its checksums are taken: until then nobody knows what was
   * written but the disk. Longer while clients are at work, who are likely to write it again.
   */
  sumDelayMs: number;
  sumIdleDelayMs: number;
  /** How fast data is read back for its checksums, a second. */
  sumBytesPerSec: number;
  /** How fast the background scrub reads, a second; 0: there is none. */
  scrubBytesPerSec: number;
  /** From the start of one background scrub to the start of the next. */
  scrubPeriodMs: number;
}

/**
 * A 16th of the memory; half of it while the machine's other writers leave less (see DirtyWatch). By default the kernel
 * begins to write back at a tenth.
 */
export function dirtyLimitFor(memoryBytes: number): number {
  return Math.max(128 * MiB, Math.min(2 * GiB, memoryBytes / 16));
}

/** A 256th of the memory: checksums of four times the memory in data. */
function sumCacheFor(bytes: number): number {
  return Math.max(1024, Math.min(65_536, Math.floor(bytes / 256 / (4 * KiB))));
}

const memoryBytes = Math.min(totalmem(), process.constrainedMemory() || totalmem());

export const DEFAULT_TUNING: OstTuning = {
  openFiles: 1024,
  regionPages: 32_768,
  layerMaps: 16_384,
  writebackBytes: 8 * MiB,
  dirtyLimitBytes: dirtyLimitFor(memoryBytes),
  reserveBytes: null,
  capacityBytes: null,
  heartbeatMs: 2000,
  collectPeriodMs: 10 * 60_000,
  connections: 4096,
  copies: 4,
  copyAnswerMs: 5000,
  checksums: true,
  sumCacheRegions: sumCacheFor(memoryBytes),
  sumDelayMs: 30_000,
  sumIdleDelayMs: 5_000,
  sumBytesPerSec: 64 * MiB,
  scrubBytesPerSec: 4 * MiB,
  scrubPeriodMs: 7 * 24 * 3_600_000,
};
