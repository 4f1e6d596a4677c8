import type { BlockDevice } from '../block/index.js';
import type { Logger } from '../common/log.js';
import type { Io } from '../io/index.js';
import type { DirtyLog } from './dirty-log.js';
import type { GuestMemory } from './guest-memory.js';
import type { RequestBudget } from './request-budget.js';
import type { WriteCopies } from './write-copies.js';

/** What the rings of one front-end share. */
export interface VringHost {
  readonly io: Io;
  readonly log: Logger;
  readonly device: BlockDevice;
  readonly copies: WriteCopies;
  readonly memory: GuestMemory;
  readonly serial: string;
  readonly features: bigint;
  readonly writeThrough: boolean;
  /** Set by the guest's first FLUSH: see `Session`. */
  writebackKnown: boolean;
  /** While a migration wants to know what is written. */
  readonly dirty: DirtyLog | null;
  readonly budget: RequestBudget;
  /** The front-end is gone. */
  readonly ending: boolean;
  inflightBytes(index: number, size: number): Buffer | null;
  onBroken(index: number, fault: string): void;
  /** Memory was gone when it was touched: what was read there the guest has not written. Then the session ends. */
  isTorn(): boolean;
  /** It was started or stopped. */
  onStarted(): void;
}
