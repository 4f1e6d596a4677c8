import type { RawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import { SliceList } from '../io/memory.js';

/** Block operations, as every facade knows them. */
export const BlockOp = { READ: 1, WRITE: 2, FLUSH: 3, DISCARD: 4, WRITE_ZEROES: 5, CACHE: 6 } as const;
export type BlockOp = (typeof BlockOp)[keyof typeof BlockOp];

export const BlockFlag = {
  /** The operation's effect is durable before it is done. */
  FUA: 1,
  /** WRITE_ZEROES may give the space back. */
  MAY_UNMAP: 2,
  /** WRITE_ZEROES fails with NOT_SUPPORTED at once where it would not be faster than writing. */
  FAST_ZERO: 4,
} as const;

/**
 * One request, preallocated and owned by a facade. From `submit` until `blockDone` it and the memory its
 * slices name belong to the device. Ranges are inside the device and multiples of its `blockSizeMinBytes`.
 */
export class BlockRequest {
  op: BlockOp = BlockOp.READ;
  flags = 0;
  /** Bytes from the start of the device. */
  offset = 0;
  length = 0;
  /** Memory to fill (READ) or to send (WRITE); `slices.lengthBytes === length` for both. */
  readonly slices = new SliceList();
  owner: BlockOwner;
  constructor(owner: BlockOwner) {
    this.owner = owner;
  }
}

export interface BlockOwner {
  /** Exactly once a submit, never from within it. `error` is null on success. */
  blockDone(request: BlockRequest, error: RawstorError | null): void;
}

/** One run of a device's allocation map. */
export interface Extent {
  lengthBytes: number;
  /** Takes no space of its own. */
  hole: boolean;
  /** Reads as zeros. */
  zero: boolean;
}

/** A state that a device was in and can be compared with: a snapshot that it lies over. */
export interface Mark {
  readonly name: string;
  /** Never of two: a snapshot that is made anew under the same name has another. */
  readonly version: number;
}

/** One run of a device's layers. */
export interface LayerRun {
  lengthBytes: number;
  /** 0: none of those asked about has it; 1: the topmost one, 2: the one below it, and so on. Zeroes that hide something count as had. */
  depth: number;
}

export interface BlockLimits {
  readonly blockSizeMinBytes: number;
  readonly blockSizePreferredBytes: number;
  /** Longest READ or WRITE; facades cut longer ones. */
  readonly payloadMaxBytes: number;
  /** Longest DISCARD, WRITE_ZEROES, CACHE. */
  readonly rangeMaxBytes: number;
}

/** What volumes take: a request of a frame at a time, ranges without data longer. */
export const USUAL_LIMITS: BlockLimits = {
  blockSizeMinBytes: LIMITS.sectorBytes,
  blockSizePreferredBytes: LIMITS.blockBytes,
  payloadMaxBytes: LIMITS.framePayloadBytes,
  rangeMaxBytes: LIMITS.rangeBytes,
};

/** The one interface between facades and everything below; layers are devices over a device. */
export interface BlockDevice {
  readonly sizeBytes: number;
  /** Up to where requests are taken, where that may be more than `sizeBytes`, which may be stale: the device judges then. */
  readonly endBytes?: number;
  readonly readOnly: boolean;
  readonly limits: BlockLimits;
  /** A flush on any connection covers writes done on all: more than one connection is then safe. */
  readonly multiConnection: boolean;
  submit(request: BlockRequest): void;
  /** Allocation map from `offset` on, at least one run, at most `length` bytes. */
  extents(offset: number, length: number): Promise<Extent[]>;
  /** Snapshots that it lies over, oldest first. */
  marks?(): readonly Mark[];
  /**
   * Which layer has what, from `offset` on, at least one run, at most `length` bytes: of those over `since`, so that depth 0 is what has not
   * changed, or (null) of all. Never misses a change that was acknowledged before; may tell of more than there were.
   * @throws RawstorError NOT_FOUND where that snapshot is gone, INVALID where this does not lie over it
   */
  layers?(since: Mark | null, offset: number, length: number): Promise<LayerRun[]>;
  /** Set by who opened it, who closes it then: another process waits for it, and nobody uses it here. */
  onWanted?: (() => void) | null;
  /** Before a front-end is told of the size: learns it anew where it may be stale. Never throws. */
  refresh?(): Promise<void>;
  /**
   * The facade's front-end has stopped or is gone: nothing comes until it says otherwise. As it is at first.
   * @param goesOn with `resting` false: it is the very one that has stopped before, and its guest goes on from there
   */
  rest?(resting: boolean, goesOn?: boolean): void;
  /**
   * Closes it in order for a process that is to take this one's place, with its front-end at rest; a request has it back.
   * @returns the session that was the last one then, for that process to open it only if it still is; null: of no use
   */
  giveWay?(): Promise<number | null>;
  /** Ends it in order: what is in flight is answered, then flushed. */
  close(): Promise<void>;
  /** Of a front-end that is gone: requests that have not begun end with Withdrawn, and are never carried out. */
  withdraw?(isGone: (request: BlockRequest) => boolean): void;
  /** Ends what waits for something that may never come, with errors; `close` then does not wait for it either. */
  abandon?(): void;
}
