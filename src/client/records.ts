import type { BlockRequest } from '../block/device.js';
import type { RawstorError } from '../common/errors.js';
import type { SliceList } from '../io/memory.js';
import { SliceList as Slices } from '../io/memory.js';
import { ChunkOp, type ChunkOpOwner } from '../protocol/chunk-op.js';
import type { Member } from './member.js';
import type { LockHolder } from './range-locks.js';

/** The preallocated records of the data path: a request, its pieces by chunk, and a piece's copies by OST. */

export const ReplicaState = {
  IDLE: 0,
  /** On its way. */
  SENT: 1,
  /** The session ended before the answer; to be sent again or given up. */
  LOST: 2,
  OK: 3,
  /** Answered with an error of its own. */
  FAILED: 4,
  /** No longer needed: the member left the set. */
  DROPPED: 5,
} as const;
export type ReplicaState = (typeof ReplicaState)[keyof typeof ReplicaState];

/** One piece's operation on one OST. */
export class ReplicaOp extends ChunkOp {
  state: ReplicaState = ReplicaState.IDLE;
  member: Member | null = null;
  generation = 0;
  /** `losses` of the member when it was sent. */
  losses = 0;
  readonly piece: Piece;
  constructor(piece: Piece, owner: ChunkOpOwner) {
    super(owner);
    this.piece = piece;
  }
}

/** The part of a request that lies in one chunk; a flush is a piece over all members. */
export class Piece {
  request: VolumeRequest | null = null;
  opcode = 0;
  fua = false;
  chunk = 0;
  offset = 0;
  length = 0;
  /** Changes: the version that the first of its operations went to, and so all go to; 0 before. */
  version = 0;
  readonly slices: SliceList = new Slices();
  /** Members that hold the chunk, first replica first. */
  placement: readonly Member[] = [];
  /** The first `opCount` are in use. */
  readonly ops: ReplicaOp[] = [];
  opCount = 0;
  /** Operations neither answered nor given up. */
  unsettled = 0;
  held = false;
  /** What it ends with although nobody has failed it: the answer of one that has to have it is not waited for any more. */
  error: RawstorError | null = null;
  /** Reads: members that have failed this piece. */
  readonly tried: Member[] = [];
  private readonly owner: ChunkOpOwner;

  constructor(owner: ChunkOpOwner) {
    this.owner = owner;
  }

  /** For its next use. */
  clear(): void {
    this.request = null;
    this.error = null;
    this.version = 0;
    this.slices.clear();
    for (let i = 0; i < this.opCount; i++) {
      const op = this.ops[i]!;
      op.slices.clear();
      op.state = ReplicaState.IDLE;
    }
    this.opCount = 0;
    if (this.tried.length > 0) this.tried.length = 0; // setting it is slow
  }

  /** The next unused operation, made at first use. */
  nextOp(): ReplicaOp {
    const at = this.opCount++;
    let op = this.ops[at];
    if (op === undefined) {
      op = new ReplicaOp(this, this.owner);
      this.ops.push(op);
    }
    return op;
  }
}

export interface VolumeRequestOwner {
  lockGranted(request: VolumeRequest): void;
}

/** A block request on its way through the volume; holds its range lock. */
export class VolumeRequest implements LockHolder {
  block: BlockRequest | null = null;
  opcode = 0;
  error: RawstorError | null = null;
  /** Bytes of the request already cut into pieces. */
  cursor = 0;
  piecesInFlight = 0;
  /** It has to be done from its beginning once more. */
  again = false;
  /** Of the volume itself, and not held back. */
  own = false;
  /** Its pieces are being started. */
  cutting = false;
  lockStart = 0;
  lockEnd = 0;
  lockExclusive = false;
  lockSlot = -1;
  /** Of a write under way: see Drain. */
  generation = 0;
  private readonly owner: VolumeRequestOwner;

  constructor(owner: VolumeRequestOwner) {
    this.owner = owner;
  }

  lockGranted(): void {
    this.owner.lockGranted(this);
  }
}
