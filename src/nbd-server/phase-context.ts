import type { BlockDevice } from '../block/device.js';
import { KiB, MiB } from '../common/units.js';
import type { PoolShares } from '../io/index.js';
import type { PoolBuffer } from '../io/pool.js';
import type { Io, Stream } from '../io/types.js';
import type { ExportStats } from './stats.js';
import type { RequestRules } from './transmission.js';

export interface PhaseLimits {
  /** Requests of one connection that are received and not yet answered in full. A power of two. */
  requestsMax: number;
  /** Pool bytes that one connection's data ever holds; less while others want some too (see PoolShares). */
  heldMaxBytes: number;
  /** Long requests are cut in pieces of this size, at most the largest pool buffer. */
  pieceBytes: number;
  /** Pieces of one read at a time. */
  readPiecesMax: number;
}

export const DEFAULT_PHASE_LIMITS: PhaseLimits = {
  requestsMax: 128,
  heldMaxBytes: 32 * MiB,
  pieceBytes: 256 * KiB,
  readPiecesMax: 16,
};

/** Bytes of header memory that a record has: the longest header is a data chunk's, 28. */
export const HEADER_SLOT_BYTES = 32;

export interface PhaseContext {
  readonly io: Io;
  readonly stream: Stream;
  readonly shares: PoolShares;
  readonly device: BlockDevice;
  readonly stats: ExportStats;
  readonly rules: RequestRules;
  readonly limits: PhaseLimits;
  /** Requests' reply headers are written here; given back when the phase is over. */
  readonly headers: PoolBuffer;
  /** The client broke the protocol, or a reply could not be completed; the stream has been destroyed. */
  onFault(what: string): void;
  /** The stream is closed and every request has come back from the device. Once. */
  onOver(): void;
}

export function headerMemoryBytes(limits: PhaseLimits): number {
  return limits.requestsMax * HEADER_SLOT_BYTES;
}
