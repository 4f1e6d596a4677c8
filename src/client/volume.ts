import {
  type BlockDevice,
  BlockFlag,
  type BlockLimits,
  BlockOp,
  type BlockRequest,
  type Extent,
} from '../block/device.js';
import type { Timer } from '../common/clock.js';
import { asRawstorError, RawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import { Opcode } from '../protocol/frame.js';
import type { ObjectInfo } from '../protocol/messages.js';
import type { ControlLink } from './control-link.js';
import { readExtents } from './extents.js';
import { Flusher } from './flusher.js';
import { IoPath, pieceLimitBytes } from './io-path.js';
import type { Member, MemberOwner } from './member.js';
import { Membership } from './membership.js';
import { type Piece, ReplicaState, VolumeRequest } from './records.js';
import { Reconcile } from './recovery/reconcile.js';
import { Resync } from './recovery/resync.js';
import { chunkOf, pieceLength } from './slicing.js';
import type { VolumeState } from './volume-state.js';
import { VolumeTimers } from './volume-timers.js';
import { ZERO_SOURCE_BYTES, zeroSource } from './zero-source.js';

/** Pieces of one request under way at once; a long zero or discard goes chunk by chunk behind it. */
const PIECES_IN_FLIGHT = 32;

export interface MemberStatus {
  readonly ostId: string;
  readonly state: 'in-sync' | 'resyncing' | 'stale';
  readonly attached: boolean;
  readonly regionsTotal: number;
  readonly regionsDone: number;
}

/**
 * An open mutable object as a block device: cuts requests into pieces, keeps overlapping ones apart, and hands
 * the rest to its parts. See docs/consistency for the rules.
 */
export class Volume implements BlockDevice, MemberOwner {
  readonly readOnly: boolean;
  readonly multiConnection = true;
  readonly limits: BlockLimits;
  /** Called once when the volume can serve no more: fenced, or its set of replicas is beyond repair. */
  onFatal: ((error: RawstorError) => void) | null = null;
  private readonly state: VolumeState;
  private readonly mds: ControlLink;
  private readonly path: IoPath;
  private readonly flusher: Flusher;
  private readonly membership: Membership;
  private readonly resync: Resync;
  private readonly reconcile: Reconcile;
  private readonly timers: VolumeTimers;
  private readonly free: VolumeRequest[] = [];
  private made = 0;
  /** Beyond the limit of records; drained in order. */
  private readonly queued: BlockRequest[] = [];
  /** Done in submit already: answered at the end of the turn. */
  private readonly early: { block: BlockRequest; error: RawstorError | null }[] = [];
  private heldWrites: VolumeRequest[] = [];
  private writesInFlight = 0;
  private writesDrained: (() => void) | null = null;
  private requestsInFlight = 0;
  private allDrained: (() => void) | null = null;

  constructor(state: VolumeState, mds: ControlLink, options: { readOnly: boolean; leaseMs: number }) {
    this.state = state;
    this.mds = mds;
    this.readOnly = options.readOnly;
    this.limits = {
      blockSizeMinBytes: LIMITS.sectorBytes,
      blockSizePreferredBytes: LIMITS.blockBytes,
      payloadMaxBytes: LIMITS.framePayloadBytes,
      rangeMaxBytes: LIMITS.rangeBytes,
    };
    this.path = new IoPath(state, {
      pieceDone: (piece, error) => this.pieceDone(piece, error),
      membersFailed: (piece, failed, error) => this.membersFailed(piece, failed, error),
      allFailed: (piece, error) => this.allFailed(piece, error),
      resyncFailed: (member, error) => this.resyncFailed(member, error),
    });
    this.flusher = new Flusher(state, this.path, (block, error) => this.finish(block, error));
    this.membership = new Membership(state, mds, this.path, this.flusher, {
      fail: (error) => this.fail(error),
      memberLeft: (member) => this.resync.start(member),
      holdWrites: () => this.holdWrites(),
      releaseWrites: () => this.releaseWrites(),
    });
    this.reconcile = new Reconcile(state, (request) => this.begin(request));
    this.resync = new Resync(state, {
      join: (member) => this.membership.join(member),
      reconciled: () => this.reconcile.done(),
      fenced: (error) => this.fail(error),
    });
    this.timers = new VolumeTimers(state, mds, options, {
      fail: (error) => this.fail(error),
      idleSeal: () => this.membership.seal(),
    });
  }

  get object(): ObjectInfo {
    return this.state.object;
  }

  get sizeBytes(): number {
    return this.state.object.sizeBytes;
  }

  /** Begins the background work of a volume just opened. */
  start(): void {
    this.timers.start();
    this.membership.wake();
    this.reconcile.wake();
    if (!this.readOnly)
      for (const member of this.state.members) if (!member.inSync) this.resync.start(member);
  }

  status(): { epoch: number; unreconciledRegions: number; members: MemberStatus[] } {
    const members = this.state.members.map((member): MemberStatus => {
      const progress = this.resync.progress(member);
      return {
        ostId: member.ostId,
        state: member.inSync ? 'in-sync' : member.receiving ? 'resyncing' : 'stale',
        attached: member.attached,
        regionsTotal: progress?.regionsTotal ?? 0,
        regionsDone: progress?.regionsDone ?? 0,
      };
    });
    return { epoch: this.state.epoch, unreconciledRegions: this.state.unreconciled.size, members };
  }

  submit(block: BlockRequest): void {
    if (this.state.fatal !== null || this.state.closing) return this.finishLater(block, this.gone());
    if (block.op === BlockOp.FLUSH) return this.flusher.add(block);
    if (block.op === BlockOp.CACHE) return this.finishLater(block, null);
    if (block.op !== BlockOp.READ) {
      if (this.readOnly) return this.finishLater(block, this.readOnlyError());
      if (
        block.op === BlockOp.WRITE_ZEROES &&
        this.allocatesZeroes(block) &&
        block.flags & BlockFlag.FAST_ZERO
      ) {
        const text = 'zeroes without holes are not faster than writing here';
        return this.finishLater(block, new RawstorError('NOT_SUPPORTED', text));
      }
    }
    const request = this.free.pop() ?? this.makeRequest();
    if (request === null) this.queued.push(block);
    else this.take(request, block);
  }

  extents(offset: number, length: number): Promise<Extent[]> {
    return readExtents(this.state, offset, length);
  }

  /** Answers what is in flight, flushes, seals where that is possible and gives the lease back. */
  async close(): Promise<void> {
    if (this.state.closing) return;
    this.state.closing = true;
    this.timers.stop();
    let clean = false;
    if (this.state.fatal === null && !this.readOnly) {
      try {
        await this.drainAll();
        await this.flusher.flush();
        if (this.state.unreconciled.size === 0) {
          if (this.state.unsealed) await this.membership.seal();
          clean = true;
        }
      } catch (error) {
        this.state.env.log.warn(
          { volume: this.state.name, reason: asRawstorError(error).message },
          'unclean close',
        );
      }
    }
    this.state.fatal ??= this.gone();
    const { id } = this.state.object;
    if (!this.readOnly) {
      await this.mds
        .call('mds.close', { id, sessionEpoch: this.state.sessionEpoch, clean }, 3000)
        .catch((error) =>
          this.state.env.log.warn({ reason: asRawstorError(error).message }, 'lease not given back'),
        );
    }
    for (const member of this.state.members) member.end(false);
    this.path.failAll(this.state.fatal);
    this.membership.wake();
  }

  memberEnded(member: Member): void {
    const { state } = this;
    if (state.fatal !== null || state.closing) {
      // Nobody will attach it again: what waits for it ends.
      if (state.fatal !== null) this.path.giveUp(member);
      if (state.closing && state.fatal === null) this.membership.wake();
      return;
    }
    if (member.inSync || member.counts) {
      this.membership.wake();
    } else {
      member.receiving = false;
      this.path.giveUp(member);
      if (!this.readOnly) this.resync.start(member);
    }
    this.path.review();
  }

  memberConfirmed(_member: Member): void {
    if (this.path.waitingCount > 0) this.path.review();
  }

  lockGranted(request: VolumeRequest): void {
    if (this.state.fatal !== null || this.mustWait(request)) {
      this.state.locks.release(request);
      this.begin(request);
    } else this.issue(request);
  }

  runBatch(): void {
    const early = this.early.splice(0);
    for (const { block, error } of early) block.owner.blockDone(block, error);
  }

  private take(request: VolumeRequest, block: BlockRequest): void {
    request.block = block;
    request.error = null;
    request.cursor = 0;
    request.piecesInFlight = 0;
    request.lockStart = block.offset;
    request.lockEnd = block.offset + block.length;
    request.lockExclusive = block.op !== BlockOp.READ;
    request.opcode = this.opcodeOf(block);
    this.requestsInFlight++;
    this.begin(request);
  }

  private begin(request: VolumeRequest): void {
    if (this.state.fatal !== null) return this.endLater(request, this.state.fatal);
    if (this.mustWait(request)) {
      if (this.state.writesHeld && request.lockExclusive) this.heldWrites.push(request);
      else this.reconcile.park(request);
      return;
    }
    if (this.state.locks.acquire(request)) this.issue(request);
  }

  private mustWait(request: VolumeRequest): boolean {
    const { state } = this;
    if (state.writesHeld && request.lockExclusive) return true;
    const { unreconciled } = state;
    return (
      unreconciled.size > 0 &&
      unreconciled.overlaps(request.lockStart, request.lockEnd, state.regionSizeBytes)
    );
  }

  private issue(request: VolumeRequest): void {
    if (request.lockExclusive && request.cursor === 0) {
      this.writesInFlight++;
      this.state.unsealed = true;
      this.state.unflushed = true;
      this.state.lastWriteAtMs = this.state.env.clock.nowMs();
    }
    this.cut(request);
  }

  /** Starts the next pieces of a request, as many as may be under way. */
  private cut(request: VolumeRequest): void {
    const block = request.block!;
    const { chunkSizeBytes } = this.state.object;
    const isZeroWrite = request.opcode === Opcode.WRITE && block.op === BlockOp.WRITE_ZEROES;
    const limit = isZeroWrite ? ZERO_SOURCE_BYTES : pieceLimitBytes(request.opcode);
    while (request.cursor < block.length && request.piecesInFlight < PIECES_IN_FLIGHT) {
      const offset = block.offset + request.cursor;
      const length = pieceLength(offset, block.length - request.cursor, chunkSizeBytes, limit);
      const piece = this.path.piece();
      piece.request = request;
      piece.opcode = request.opcode;
      piece.fua = (block.flags & BlockFlag.FUA) !== 0;
      piece.chunk = chunkOf(offset, chunkSizeBytes);
      piece.offset = offset % chunkSizeBytes;
      piece.length = length;
      piece.placement = this.state.placement(piece.chunk);
      if (isZeroWrite) piece.slices.add(zeroSource(), 0, length);
      else if (block.slices.count > 0) piece.slices.addRange(block.slices, request.cursor, length);
      request.cursor += length;
      request.piecesInFlight++;
      this.path.start(piece);
    }
  }

  private pieceDone(piece: Piece, error: RawstorError | null): void {
    const { request } = piece;
    if (request === null) return this.flusher.pieceDone(piece, error);
    this.path.recycle(piece);
    if (error !== null) request.error ??= error;
    request.piecesInFlight--;
    const block = request.block!;
    if (request.error === null && request.cursor < block.length) this.cut(request);
    else if (request.piecesInFlight === 0) this.end(request);
  }

  private end(request: VolumeRequest): void {
    const block = request.block!;
    const { error } = request;
    if (request.lockExclusive) {
      this.writesInFlight--;
      if (this.writesInFlight === 0) this.writesDrained?.();
    }
    this.state.locks.release(request);
    this.recycle(request);
    block.owner.blockDone(block, error);
  }

  /** Ends a request that holds no lock. */
  private endLater(request: VolumeRequest, error: RawstorError): void {
    const block = request.block!;
    this.recycle(request);
    this.finishLater(block, error);
  }

  private recycle(request: VolumeRequest): void {
    request.block = null;
    this.requestsInFlight--;
    const next = this.queued.shift();
    if (next !== undefined) this.take(request, next);
    else this.free.push(request);
    if (this.requestsInFlight === 0) this.allDrained?.();
  }

  private makeRequest(): VolumeRequest | null {
    if (this.made >= LIMITS.volumeInFlight) return null;
    this.made++;
    return new VolumeRequest(this);
  }

  private finish(block: BlockRequest, error: RawstorError | null): void {
    block.owner.blockDone(block, error);
  }

  private finishLater(block: BlockRequest, error: RawstorError | null): void {
    this.early.push({ block, error });
    this.state.env.io.schedule(this);
  }

  private membersFailed(piece: Piece, failed: Member[], error: RawstorError): void {
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
      else this.membership.wake();
    }
  }

  private allFailed(piece: Piece, error: RawstorError): void {
    const { state } = this;
    const copies = piece.placement.filter((member) => member.inSync).length;
    if (copies > 1 && piece.request !== null) {
      const start = piece.chunk * state.object.chunkSizeBytes + piece.offset;
      state.unreconciled.addRange(start, start + piece.length, state.regionSizeBytes);
      this.reconcile.wake();
    }
    this.pieceDone(piece, error);
  }

  private resyncFailed(member: Member, error: RawstorError): void {
    this.state.env.log.warn(
      { ostId: member.ostId, error: error.message },
      'a resyncing replica failed a write',
    );
    member.end(false);
  }

  private holdWrites(): Promise<void> {
    this.state.writesHeld = true;
    if (this.writesInFlight === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.writesDrained = () => {
        this.writesDrained = null;
        resolve();
      };
    });
  }

  private releaseWrites(): void {
    this.state.writesHeld = false;
    const held = this.heldWrites;
    this.heldWrites = [];
    for (const request of held) this.begin(request);
  }

  private drainAll(): Promise<void> {
    if (this.requestsInFlight === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.allDrained = resolve;
    });
  }

  private fail(error: RawstorError): void {
    if (this.state.fatal !== null) return;
    this.state.fatal = error;
    this.state.env.log.error({ volume: this.state.name, code: error.code }, error.message);
    this.timers.stop();
    for (const member of this.state.members) member.end(false);
    this.path.failAll(error);
    const waiting = [...this.heldWrites.splice(0), ...this.reconcile.takeParked()];
    for (const request of waiting) this.endLater(request, error);
    this.onFatal?.(error);
  }

  private opcodeOf(block: BlockRequest): number {
    switch (block.op) {
      case BlockOp.READ:
        return Opcode.READ;
      case BlockOp.WRITE:
        return Opcode.WRITE;
      case BlockOp.DISCARD:
        return Opcode.ERASE;
      default:
        return this.allocatesZeroes(block) ? Opcode.WRITE : Opcode.ZERO;
    }
  }

  private allocatesZeroes(block: BlockRequest): boolean {
    return (block.flags & BlockFlag.MAY_UNMAP) === 0;
  }

  private gone(): RawstorError {
    return this.state.fatal ?? new RawstorError('UNAVAILABLE', `volume ${this.state.name} is closed`);
  }

  private readOnlyError(): RawstorError {
    return new RawstorError('READ_ONLY', `volume ${this.state.name} is open for reading only`);
  }
}
