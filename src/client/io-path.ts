import type { RawstorError } from '../common/errors.js';
import { TRACE } from '../common/trace.js';
import type { ChunkOp, ChunkOpOwner } from '../protocol/chunk-op.js';
import { errorOfStatus, STATUS_CONNECTION_LOST } from '../protocol/control.js';
import { Opcode } from '../protocol/frame.js';
import { traceReplica } from '../protocol/trace.js';
import type { Member } from './member.js';
import {
  changesData,
  dropJoining,
  failedMembers,
  failedRead,
  isEmptied,
  isOutdated,
  isSessionLoss,
} from './piece-outcome.js';
import { Piece, type ReplicaOp, ReplicaState } from './records.js';
import { chooseReplica, enoughInSync } from './replica-choice.js';
import type { VolumeState } from './volume-state.js';

/** What the I/O path asks of the other parts of a volume. */
export interface IoPathOwner {
  pieceDone(piece: Piece, error: RawstorError | null): void;
  /** Some replicas of the piece have it and these have failed: they have to leave the set. */
  membersFailed(piece: Piece, failed: Member[], error: RawstorError): void;
  /** No replica took the whole of it: they may differ now. The piece stays open until `finish`. */
  allFailed(piece: Piece, error: RawstorError): void;
  resyncFailed(member: Member, error: RawstorError): void;
  /** A read of what became unreconciled (I7), a change with too few in sync: it waits without its lock, which repairs need. */
  tooEarly(piece: Piece): void;
  reviewed(): void;
}

/**
 * Sends pieces to members, gathers their answers and decides when a piece is done: writes and flushes when
 * every required member has answered (I1), reads from one member, both only while every in-sync member has
 * confirmed the session within T (I14, I5).
 */
export class IoPath implements ChunkOpOwner {
  private readonly state: VolumeState;
  private readonly owner: IoPathOwner;
  private readonly free: Piece[] = [];
  /** Whole, but not to be acknowledged yet. */
  private held: Piece[] = [];
  /** No member can take them now. */
  private parked: Piece[] = [];
  private rotor = 0;

  constructor(state: VolumeState, owner: IoPathOwner) {
    this.state = state;
    this.owner = owner;
  }

  piece(): Piece {
    return this.free.pop() ?? new Piece(this);
  }

  /** Begins a piece; `pieceDone` follows, never from within. */
  start(piece: Piece): void {
    piece.opcode === Opcode.READ ? this.sendRead(piece) : this.sendWrite(piece);
  }

  /** Gives the piece's record back. */
  recycle(piece: Piece): void {
    piece.clear();
    this.free.push(piece);
  }

  chunkDone(chunkOp: ChunkOp): void {
    const op = chunkOp as ReplicaOp;
    const member = op.member!;
    const { piece, status } = op;
    member.sent.end(op.generation);
    if (TRACE.on) this.trace(op, member);
    if (status === 0) {
      member.confirm(op.sentAtMs);
      if (changesData(piece)) member.dirty = true;
      op.state = ReplicaState.OK;
    } else if (isSessionLoss(status)) {
      // Not served under our session any more: only a new attach tells why.
      if (status !== STATUS_CONNECTION_LOST) member.end(false);
      if (piece.opcode === Opcode.READ) return this.retryRead(piece, member, op);
      if (member.required && this.state.fatal === null) {
        op.state = ReplicaState.LOST;
        member.lost.push(op);
        return;
      }
      op.state = ReplicaState.DROPPED;
    } else {
      if (piece.opcode === Opcode.READ) return this.retryRead(piece, member, op);
      if (member.required) {
        op.state = ReplicaState.FAILED;
      } else {
        op.state = ReplicaState.DROPPED;
        this.owner.resyncFailed(member, errorOfStatus(status, member.ostId));
      }
    }
    if (--piece.unsettled === 0) this.settle(piece);
  }

  private trace(op: ReplicaOp, { peer }: Member): void {
    if (peer !== null) traceReplica(op, peer.local, op.piece.unsettled === 1, this.state.env.clock.nowMs());
  }

  /** Sends again, under the new session and the current tag, what was lost with the old one. */
  resend(member: Member): void {
    const lost = member.lost.splice(0);
    for (const op of lost) this.sendTo(op, member);
  }

  /** Gives up what was lost with a member that has left the set, or is not waited for: such pieces end with the error (I1). */
  giveUp(member: Member, error: RawstorError | null = null): void {
    for (const op of member.lost.splice(0)) {
      op.state = ReplicaState.DROPPED;
      op.piece.error ??= error;
      if (--op.piece.unsettled === 0) this.settle(op.piece);
    }
  }

  /** Looks again at all that was held or parked: a member has confirmed, come or gone. */
  review(): void {
    if (this.held.length > 0) {
      const held = this.held;
      this.held = [];
      for (const piece of held) {
        piece.held = false;
        this.settle(piece);
      }
    }
    if (this.parked.length > 0) {
      for (const piece of this.parked.splice(0)) this.start(piece);
    }
    this.owner.reviewed();
  }

  /** Ends everything that waits, with the volume's fatal error. */
  failAll(error: RawstorError): void {
    this.failWaiting(error);
    for (const member of this.state.members) this.giveUp(member);
  }

  /** Ends what is held or parked: all of it, or what changes data. */
  failWaiting(error: RawstorError, which: 'all' | 'writes' = 'all'): void {
    const ends = (piece: Piece) => which === 'all' || changesData(piece);
    const ending = [...this.held, ...this.parked].filter(ends);
    this.held = this.held.filter((piece) => !ends(piece));
    this.parked = this.parked.filter((piece) => !ends(piece));
    for (const piece of ending) {
      piece.held = false;
      this.owner.pieceDone(piece, error);
    }
  }

  get waits(): boolean {
    return this.held.length + this.parked.length > 0;
  }

  private sendWrite(piece: Piece): void {
    const isFlush = piece.opcode === Opcode.FLUSH;
    // It may have moved since the piece was cut.
    if (!isFlush) piece.placement = this.state.placement(piece.chunk);
    const { placement } = piece;
    piece.opCount = 0;
    piece.unsettled = 0;
    if (!isFlush && !enoughInSync(placement, this.state.object.minReplicas))
      return this.owner.tooEarly(piece);
    if (piece.version === 0) piece.version = this.state.writeVersion;
    for (const member of placement) {
      if (isFlush ? !member.required || !member.dirty : !member.takesWrites) continue;
      // One that lost what was not flushed stays dirty: that is how the loss is known for one (I8).
      if (isFlush && !member.emptied) member.dirty = false;
      const op = piece.nextOp();
      op.opcode = piece.opcode;
      op.fua = piece.fua;
      op.chunk = piece.chunk;
      op.chunkVersion = piece.version;
      op.offset = piece.offset;
      op.length = piece.length;
      op.slices.clear();
      if (piece.opcode === Opcode.WRITE) op.slices.addRange(piece.slices, 0, piece.length);
      op.member = member;
      piece.unsettled++;
    }
    if (piece.opCount === 0) return this.settle(piece);
    // Two loops: an answer never comes from within submit, but the count must be whole before any can.
    for (let i = 0; i < piece.opCount; i++) {
      const op = piece.ops[i]!;
      this.sendTo(op, op.member!);
    }
  }

  private sendTo(op: ReplicaOp, member: Member): void {
    const peer = member.peer;
    if (peer === null) {
      op.state = ReplicaState.LOST;
      member.lost.push(op);
      return;
    }
    op.state = ReplicaState.SENT;
    op.handle = member.handle;
    op.sessionEpoch = this.state.sessionEpoch;
    op.sessionNumber = member.sessionNumber;
    op.tag = this.state.tag;
    op.generation = member.sent.begin();
    op.losses = member.losses;
    peer.submit(op);
  }

  private sendRead(piece: Piece): void {
    piece.placement = this.state.placement(piece.chunk);
    if (this.state.differs(piece)) return this.owner.tooEarly(piece);
    const member = chooseReplica(piece, this.rotor++, this.state.env.host);
    if (member === null) {
      this.parked.push(piece);
      return;
    }
    piece.opCount = 0;
    const op = piece.nextOp();
    op.opcode = Opcode.READ;
    op.fua = false;
    op.chunk = piece.chunk;
    op.chunkVersion = member.headVersion;
    op.offset = piece.offset;
    op.length = piece.length;
    op.slices.clear();
    op.slices.addRange(piece.slices, 0, piece.length);
    op.member = member;
    piece.unsettled = 1;
    this.sendTo(op, member);
  }

  private retryRead(piece: Piece, member: Member, op: ReplicaOp): void {
    op.state = ReplicaState.IDLE;
    piece.unsettled = 0;
    const { fatal } = this.state;
    if (fatal !== null) return this.owner.pieceDone(piece, fatal);
    const error = failedRead(piece, op, member);
    error === null ? this.sendRead(piece) : this.owner.pieceDone(piece, error);
  }

  private settle(piece: Piece): void {
    const { fatal, acksHeld } = this.state;
    const ends = fatal ?? piece.error;
    if (ends !== null) return this.owner.pieceDone(piece, ends);
    if (piece.opcode !== Opcode.READ && (this.anyFailed(piece) || this.sendLostAgain(piece))) return;
    if (acksHeld || !this.confirmed(piece.placement)) return this.hold(piece);
    // Not before what was lost is on record: a flush that covers it may not succeed (I8).
    if (piece.opcode !== Opcode.READ && piece.placement.some(isEmptied)) return this.hold(piece);
    if (changesData(piece) && !enoughInSync(piece.placement, this.state.object.minReplicas)) {
      return this.owner.tooEarly(piece);
    }
    if (piece.opcode === Opcode.READ && (isOutdated(piece.ops[0]!) || this.state.differs(piece))) {
      piece.opCount = 0;
      return this.sendRead(piece);
    }
    this.owner.pieceDone(piece, null);
  }

  private hold(piece: Piece): void {
    piece.held = true;
    this.held.push(piece);
  }

  /** Every required member has confirmed the session within T; asks those that have not. */
  private confirmed(placement: readonly Member[]): boolean {
    const oldest = this.state.env.clock.nowMs() - this.state.env.confirmMs;
    let all = true;
    for (const member of placement) {
      if (!member.required) continue;
      if (member.confirmedAtMs < oldest) {
        all = false;
        member.sendPing();
      }
    }
    return all;
  }

  /** What a member answered before it lost its unflushed writes is not there any more. */
  private sendLostAgain(piece: Piece): boolean {
    for (let i = 0; i < piece.opCount; i++) {
      const op = piece.ops[i]!;
      const member = op.member!;
      if (op.state !== ReplicaState.OK || op.losses === member.losses) continue;
      piece.unsettled++;
      this.sendTo(op, member);
    }
    return piece.unsettled > 0;
  }

  private anyFailed(piece: Piece): boolean {
    const failed = failedMembers(piece);
    if (failed === null) return false;
    dropJoining(failed.joining, this.owner);
    if (failed.members.length === 0) return false;
    const error = errorOfStatus(failed.status, `volume ${this.state.name}`);
    if (failed.someOk) this.owner.membersFailed(piece, failed.members, error);
    else this.owner.allFailed(piece, error);
    return true;
  }
}
