import type { BlockRequest } from '../block/device.js';
import type { RawstorError } from '../common/errors.js';
import { ChunkOp } from '../protocol/chunk-op.js';
import { Opcode } from '../protocol/frame.js';
import type { IoPath } from './io-path.js';
import type { Member } from './member.js';
import { type Piece, ReplicaState } from './records.js';
import type { VolumeState } from './volume-state.js';

/**
 * Flushes of one volume (I10), coalesced: while one is on its way, those that come wait for the next, which
 * covers everything acknowledged before it began.
 */
export class Flusher {
  private readonly state: VolumeState;
  private readonly path: IoPath;
  private readonly finish: (request: BlockRequest, error: RawstorError | null) => void;
  /** A flush of the guest has succeeded and been answered. */
  onFlushed: () => void = () => {};
  /** The guest was told of a loss: that is to be recorded, or a gateway after this one tells it again. */
  onLossTold: () => void = () => {};
  private running: BlockRequest[] | null = null;
  private piece: Piece | null = null;
  private next: BlockRequest[] = [];
  private waiters: { resolve: () => void; reject: (error: RawstorError) => void }[] = [];
  private runningWaiters: typeof this.waiters = [];

  constructor(
    state: VolumeState,
    path: IoPath,
    finish: (request: BlockRequest, error: RawstorError | null) => void,
  ) {
    this.state = state;
    this.path = path;
    this.finish = finish;
  }

  add(request: BlockRequest): void {
    this.next.push(request);
    if (this.running === null) this.state.env.io.schedule(this);
  }

  /** For the volume's own use: a seal, a close. */
  flush(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.waiters.push({ resolve, reject });
      if (this.running === null) this.state.env.io.schedule(this);
    });
  }

  get idle(): boolean {
    return this.running === null && this.next.length === 0 && this.waiters.length === 0;
  }

  /** Begins the next flush at the end of a turn, so that those of one batch share it. */
  runBatch(): void {
    if (this.running !== null || (this.next.length === 0 && this.waiters.length === 0)) return;
    this.running = this.next;
    this.runningWaiters = this.waiters;
    this.next = [];
    this.waiters = [];
    const { state } = this;
    if (state.fatal !== null) return this.end(state.fatal);
    const piece = this.path.piece();
    piece.request = null;
    piece.opcode = Opcode.FLUSH;
    piece.fua = false;
    piece.chunk = 0;
    piece.offset = 0;
    piece.length = 0;
    // Sent to those that are dirty; but answered only while every one has confirmed the session (I14).
    piece.placement = state.members.filter((member) => member.required);
    this.piece = piece;
    this.path.start(piece);
  }

  /** Whether what the member held when the running flush began is not known to be durable there. */
  awaits(member: Member): boolean {
    const { piece } = this;
    if (piece === null) return false;
    for (let i = 0; i < piece.opCount; i++) {
      const op = piece.ops[i]!;
      if (op.member === member) return op.state !== ReplicaState.OK;
    }
    return false;
  }

  pieceDone(piece: Piece, error: RawstorError | null): void {
    if (error !== null) for (const member of piece.placement) member.dirty = true;
    this.piece = null;
    this.path.recycle(piece);
    this.end(error);
  }

  /**
   * A loss is reported to the guest's first flush after it and to those that were asked for by then: they
   * cover what is lost as well. A seal's own flush tells nobody.
   */
  private takeLoss(): VolumeState['lossToReport'] {
    const loss = this.state.lossToReport;
    this.state.lossToReport = null;
    return loss;
  }

  private end(error: RawstorError | null): void {
    const requests = this.running ?? [];
    const waiters = this.runningWaiters;
    const loss = error === null && requests.length > 0 ? this.takeLoss() : null;
    const told = error ?? loss?.error ?? null;
    if (loss !== null) requests.push(...this.next.splice(0));
    this.running = null;
    this.runningWaiters = [];
    for (const request of requests) this.finish(request, told);
    if (loss !== null) {
      this.state.toldLossEpoch = loss.epoch;
      this.onLossTold();
    }
    if (told === null && requests.length > 0) this.onFlushed();
    for (const waiter of waiters) error === null ? waiter.resolve() : waiter.reject(error);
    if (this.next.length > 0 || this.waiters.length > 0) this.state.env.io.schedule(this);
  }
}

/** A flush of one member alone; false when it failed or its session ended. */
export function flushMember(state: VolumeState, member: Member): Promise<boolean> {
  return new Promise((resolve) => {
    const { peer } = member;
    if (peer === null) return resolve(false);
    const op = new ChunkOp({ chunkDone: (done) => resolve(done.status === 0) });
    op.opcode = Opcode.FLUSH;
    op.handle = member.handle;
    op.sessionEpoch = state.sessionEpoch;
    op.sessionNumber = member.sessionNumber;
    op.tag = state.epoch;
    peer.submit(op);
  });
}
