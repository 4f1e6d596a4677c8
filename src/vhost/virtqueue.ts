import type { Chain } from './chain.js';

/** Guest-shared memory of a ring's three areas, each in one piece. */
export interface RingMemory {
  readonly descriptors: Buffer;
  /** Available ring (split), driver event suppression (packed). */
  readonly driver: Buffer;
  /** Used ring (split), device event suppression (packed). */
  readonly device: Buffer;
}

/** What a queue is made with. */
export interface QueueOptions {
  readonly size: number;
  readonly indirect: boolean;
  readonly eventIndex: boolean;
  /**
   * As GET_VRING_BASE tells: of a split queue the index of the next available entry to take; of a packed one the next
   * available index and its wrap counter, the next used index and its wrap counter.
   */
  readonly base: number;
}

export const Taken = { NOTHING: 0, CHAIN: 1, BROKEN: 2 } as const;
export type Taken = (typeof Taken)[keyof typeof Taken];

/**
 * The device's side of one ring in memory that a driver changes at any time: what it says is read once and checked.
 * After BROKEN, `fault` says why and nothing more may be taken.
 */
export interface VirtQueue {
  readonly fault: string;
  /** Fills `chain` with the next available one. */
  take(chain: Chain): Taken;
  /** The driver has made something available that was not taken. */
  hasMore(): boolean;
  /** Gives a chain back of which `writtenBytes` were written. */
  give(chain: Chain, writtenBytes: number): void;
  /** Asks the driver to kick, or not to, when it makes more available; after asking, look with `hasMore`. */
  wantKicks(wanted: boolean): void;
  /** Whether the driver wants to be told of what was given since this was asked last. */
  wantsCall(): boolean;
  /** `usedBase` after this chain will have been given. */
  usedAfter(chain: Chain): number;
  /** Where the next one is given: an index (split), or a place and its wrap counter (packed), in 16 bits. */
  readonly usedBase: number;
  /** For GET_VRING_BASE; nothing may be out. */
  readonly base: number;
}

/** Bytes of the three areas. */
export interface RingSizes {
  readonly descriptors: number;
  readonly driver: number;
  readonly device: number;
}

/** Keeps outside of this process which chains are out. */
export interface Inflight {
  taken(chain: Chain): void;
  /** Right before `give`. @param usedBase of the queue afterwards */
  giving(chain: Chain, usedBase: number): void;
  /** Right after. */
  given(chain: Chain, usedBase: number): void;
  /** Nothing is out, and the ring ends here. */
  stopped(): void;
}
