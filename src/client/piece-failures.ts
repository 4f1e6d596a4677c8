import type { RawstorError } from '../common/errors.js';
import type { Member } from './member.js';
import { type Piece, ReplicaState } from './records.js';
import type { VolumeState } from './volume-state.js';

export interface PieceFailuresOwner {
  /** Something has changed that concerns the in-sync set. */
  wake(): void;
  /** Regions have become unreconciled. */
  differ(): void;
  done(piece: Piece, error: RawstorError): void;
}

/** What follows when replicas answer a piece with an error of their own. */
export class PieceFailures {
  private readonly state: VolumeState;
  private readonly owner: PieceFailuresOwner;

  constructor(state: VolumeState, owner: PieceFailuresOwner) {
    this.state = state;
    this.owner = owner;
  }

  /** Others have it: these have to leave the set. */
  some(piece: Piece, failed: readonly Member[], error: RawstorError): void {
    this.state.env.log.error(
      { members: failed.map((m) => m.ostId), error: error.message },
      'replicas failed a write',
    );
    for (let i = 0; i < piece.opCount; i++) {
      const op = piece.ops[i]!;
      if (op.state !== ReplicaState.FAILED) continue;
      op.state = ReplicaState.LOST;
      piece.unsettled++;
      op.member!.lost.push(op);
    }
    // Attaching again would not mend it: they leave the set and come back by a resync.
    for (const member of failed) {
      if (member.attached) member.end(true);
      else this.owner.wake();
    }
  }

  /** Nobody has the whole of it: they may differ now. */
  all(piece: Piece, error: RawstorError): void {
    const { state } = this;
    const copies = piece.placement.filter((member) => member.inSync).length;
    // What it got of the write is not in its list of regions: it begins anew.
    for (const member of piece.placement) if (!member.inSync && member.receiving) member.end(false);
    if (copies > 1 && piece.request !== null) {
      const start = piece.chunk * state.object.chunkSizeBytes + piece.offset;
      state.unreconciled.addRange(start, start + piece.length, state.regionSizeBytes);
      this.owner.differ();
    }
    this.owner.done(piece, error);
  }

  resyncing(member: Member, error: RawstorError): void {
    this.state.env.log.warn(
      { ostId: member.ostId, error: error.message },
      'a resyncing replica failed a write',
    );
    member.end(false);
  }
}
