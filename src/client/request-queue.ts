import { BlockFlag, BlockOp, BlockRequest } from '../block/device.js';
import type { RawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import { Opcode } from '../protocol/frame.js';
import { Drain } from './drain.js';
import type { IoPath } from './io-path.js';
import { VolumeRequest, type VolumeRequestOwner } from './records.js';
import { enoughInSync } from './replica-choice.js';
import { behindTheEnd, opcodeOf, tooFew } from './request-kind.js';
import { chunkOf, pieceLength, pieceLimitBytes } from './slicing.js';
import type { VolumeState } from './volume-state.js';
import { ZERO_SOURCE_BYTES, zeroSource } from './zero-source.js';

/** Pieces of one request under way at once; a long zero or discard goes chunk by chunk behind it. */
const PIECES_IN_FLIGHT = 32;

/**
 * The requests of one volume from the facade's submit to its answer: waits for what has to come first (a
 * reconcile, the range lock), cuts into pieces, answers when the last piece is done.
 */
export class RequestQueue implements VolumeRequestOwner {
  private readonly state: VolumeState;
  private readonly path: IoPath;
  /** Keeps a request whose range is unreconciled; it comes back through `begin`. */
  private readonly park: (request: VolumeRequest) => void;
  private readonly free: VolumeRequest[] = [];
  private made = 0;
  /** Beyond the limit of records; drained in order. Facades bound what they have in flight. */
  private readonly queued: BlockRequest[] = [];
  /** Changes for which too few replicas are in sync; they hold no lock. */
  private starved: VolumeRequest[] = [];
  /** The volume closes: those that come fail as well. */
  refusesStarved = false;
  /** Done in submit already: answered at the end of the turn. */
  private readonly early: { block: BlockRequest; error: RawstorError | null }[] = [];
  /** Writes that hold their range. */
  readonly writes = new Drain();
  /** Changes that came while they are held back; they hold no lock. */
  private held: VolumeRequest[] = [];
  private holding = false;
  private readonly untilLetGo: (() => void)[] = [];
  private inFlight = 0;
  private allDrained: (() => void) | null = null;

  constructor(state: VolumeState, path: IoPath, park: (request: VolumeRequest) => void) {
    this.state = state;
    this.path = path;
    this.park = park;
  }

  add(block: BlockRequest): void {
    const request = this.free.pop() ?? this.makeRequest();
    if (request === null) this.queued.push(block);
    else this.take(request, block);
  }

  begin(request: VolumeRequest): void {
    if (this.state.fatal !== null) return this.endLater(request, this.state.fatal);
    if (this.isOutside(request)) return this.endLater(request, behindTheEnd(this.state));
    if (this.mustWait(request)) return this.park(request);
    if (this.isHeldBack(request)) return void this.held.push(request);
    if (this.starves(request)) this.starve(request);
    else if (this.state.locks.acquire(request)) this.issue(request);
  }

  lockGranted(request: VolumeRequest): void {
    const { fatal } = this.state;
    if (
      fatal !== null ||
      this.isOutside(request) ||
      this.mustWait(request) ||
      this.isHeldBack(request) ||
      this.starves(request)
    ) {
      this.state.locks.release(request);
      this.begin(request);
    } else this.issue(request);
  }

  finishLater(block: BlockRequest, error: RawstorError | null): void {
    this.early.push({ block, error });
    this.state.env.io.schedule(this);
  }

  runBatch(): void {
    const early = this.early.splice(0);
    for (const { block, error } of early) block.owner.blockDone(block, error);
  }

  get isIdle(): boolean {
    return this.inFlight === 0;
  }

  drainAll(): Promise<void> {
    if (this.inFlight === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.allDrained = resolve;
    });
  }

  /** A piece of a request has ended; the piece's record is free again. */
  pieceDone(request: VolumeRequest, error: RawstorError | null): void {
    if (error !== null) request.error ??= error;
    request.piecesInFlight--;
    // It goes on there, or ends there.
    if (request.cutting) return;
    const block = request.block!;
    if (request.error === null && !request.again && request.cursor < block.length) this.cut(request);
    else if (request.piecesInFlight === 0) this.end(request);
  }

  /** A piece cannot be done now: when no other is in flight, the request waits without its lock. */
  pieceTooEarly(request: VolumeRequest): void {
    request.again = true;
    this.pieceDone(request, null);
  }

  /** Ends everything that waits and holds no lock. */
  failWaiting(parked: readonly VolumeRequest[], error: RawstorError): void {
    for (const request of parked) this.endLater(request, error);
  }

  /** Ends changes that wait for more replicas; without an error of its own because the volume closes. */
  failStarved(error = tooFew(this.state)): void {
    this.failWaiting(this.starved.splice(0), error);
  }

  /** There may be enough replicas in sync by now. */
  retryStarved(): void {
    if (this.starved.length === 0) return;
    for (const request of this.starved.splice(0)) this.begin(request);
  }

  /** From here on no change begins, until `letGo`; reads go on. */
  holdBack(): void {
    this.holding = true;
  }

  letGo(): void {
    this.holding = false;
    for (const request of this.held.splice(0)) this.begin(request);
    for (const resolve of this.untilLetGo.splice(0)) resolve();
  }

  get holdsBack(): boolean {
    return this.holding;
  }

  whenLetGo(): Promise<void> {
    if (!this.holding) return Promise.resolve();
    return new Promise((resolve) => this.untilLetGo.push(resolve));
  }

  /** A change of the volume's own, of any length, which is not held back. */
  own(op: BlockOp, offset: number, length: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const blockDone = (_: BlockRequest, error: RawstorError | null) =>
        error === null ? resolve() : reject(error);
      const block = new BlockRequest({ blockDone });
      Object.assign(block, { op, offset, length });
      // All others may be held back.
      const request = new VolumeRequest(this);
      request.own = true;
      this.take(request, block);
    });
  }

  private take(request: VolumeRequest, block: BlockRequest): void {
    request.block = block;
    request.error = null;
    request.again = false;
    request.cursor = 0;
    request.piecesInFlight = 0;
    request.lockStart = block.offset;
    request.lockEnd = block.offset + block.length;
    request.lockExclusive = block.op !== BlockOp.READ;
    if (request.lockExclusive) {
      // An OST copies whole blocks up from the version below before it changes a part of one.
      request.lockStart -= request.lockStart % LIMITS.blockBytes;
      request.lockEnd = Math.ceil(request.lockEnd / LIMITS.blockBytes) * LIMITS.blockBytes;
    }
    request.opcode = opcodeOf(block);
    this.inFlight++;
    this.begin(request);
  }

  private mustWait(request: VolumeRequest): boolean {
    const { state } = this;
    const { unreconciled } = state;
    return (
      unreconciled.size > 0 &&
      unreconciled.overlaps(request.lockStart, request.lockEnd, state.regionSizeBytes)
    );
  }

  private isHeldBack({ lockExclusive, own }: VolumeRequest): boolean {
    return this.holding && lockExclusive && !own;
  }

  /** The volume was made smaller since the facade looked. */
  private isOutside({ block, own }: VolumeRequest): boolean {
    return !own && block!.offset + block!.length > this.state.object.sizeBytes;
  }

  private starve(request: VolumeRequest): void {
    if (!this.refusesStarved) this.starved.push(request);
    else this.endLater(request, tooFew(this.state));
  }

  /** Some chunk that it changes has fewer replicas in sync than it takes to acknowledge anything (I1). */
  private starves({ lockExclusive, lockStart, lockEnd }: VolumeRequest): boolean {
    const { chunkSizeBytes, minReplicas } = this.state.object;
    if (!lockExclusive || minReplicas === 1) return false;
    const last = chunkOf(lockEnd - 1, chunkSizeBytes);
    for (let chunk = chunkOf(lockStart, chunkSizeBytes); chunk <= last; chunk++) {
      if (!enoughInSync(this.state.placement(chunk), minReplicas)) return true;
    }
    return false;
  }

  private issue(request: VolumeRequest): void {
    if (request.lockExclusive && request.cursor === 0) {
      const nowMs = this.state.env.clock.nowMs();
      request.generation = this.writes.begin();
      this.state.unsealed.note(request.lockStart, request.lockEnd, nowMs);
      this.state.lastWriteAtMs = nowMs;
    }
    this.cut(request);
  }

  /** Starts the next pieces of a request, as many as may be under way. */
  private cut(request: VolumeRequest): void {
    if (request.opcode === Opcode.READ && request.cursor > 0 && this.mustWait(request)) {
      request.again = true;
      if (request.piecesInFlight === 0) this.end(request);
      return;
    }
    const block = request.block!;
    const { chunkSizeBytes } = this.state.object;
    const isZeroWrite = request.opcode === Opcode.WRITE && block.op === BlockOp.WRITE_ZEROES;
    const limit = isZeroWrite ? ZERO_SOURCE_BYTES : pieceLimitBytes(request.opcode);
    request.cutting = true;
    while (!request.again && request.cursor < block.length && request.piecesInFlight < PIECES_IN_FLIGHT) {
      const offset = block.offset + request.cursor;
      const length = pieceLength(offset, block.length - request.cursor, chunkSizeBytes, limit);
      const piece = this.path.piece();
      piece.request = request;
      piece.opcode = request.opcode;
      piece.fua = (block.flags & BlockFlag.FUA) !== 0;
      piece.chunk = chunkOf(offset, chunkSizeBytes);
      piece.offset = offset % chunkSizeBytes;
      piece.length = length;
      if (isZeroWrite) piece.slices.add(zeroSource(), 0, length);
      else if (block.slices.count > 0) piece.slices.addRange(block.slices, request.cursor, length);
      request.cursor += length;
      request.piecesInFlight++;
      this.path.start(piece);
    }
    request.cutting = false;
    // Some pieces end at once: it is not in sync enough for them.
    if (request.piecesInFlight === 0) this.end(request);
  }

  private end(request: VolumeRequest): void {
    const block = request.block!;
    const { error } = request;
    if (request.lockExclusive) this.writes.end(request.generation);
    this.state.locks.release(request);
    if (request.again && error === null) {
      request.again = false;
      request.cursor = 0;
      return this.begin(request);
    }
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
    this.inFlight--;
    if (request.own) {
      // It is none of the pool's.
    } else if (this.queued.length > 0) this.take(request, this.queued.shift()!);
    else this.free.push(request);
    if (this.inFlight === 0) this.allDrained?.();
  }

  private makeRequest(): VolumeRequest | null {
    if (this.made >= LIMITS.volumeInFlight) return null;
    this.made++;
    return new VolumeRequest(this);
  }
}
