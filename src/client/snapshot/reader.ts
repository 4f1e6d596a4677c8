import {
  type BlockDevice,
  BlockOp,
  type BlockRequest,
  type Extent,
  USUAL_LIMITS,
} from '../../block/device.js';
import { asRawstorError, RawstorError } from '../../common/errors.js';
import { LIMITS } from '../../common/limits.js';
import type { Io } from '../../io/types.js';
import { ChunkOp, type ChunkOpOwner } from '../../protocol/chunk-op.js';
import { errorOfStatus } from '../../protocol/control.js';
import { Opcode } from '../../protocol/frame.js';
import { chunkExtents } from '../extents.js';
import { isSessionLoss } from '../piece-outcome.js';
import { chunkOf, pieceLength } from '../slicing.js';
import type { ReplicaSession, SnapshotEnvironment, SnapshotReplicas } from './replicas.js';

const RETRY_MS = 200;
/** How long a read waits for some replica. */
const PATIENCE_MS = 15_000;

/** The part of a request that lies in one chunk. */
class SnapshotPiece extends ChunkOp {
  request: SnapshotRequest | null = null;
  ostId = '';
  session: ReplicaSession | null = null;
  /** OSTs that have failed it in this round. */
  readonly tried: string[] = [];
  /** What the last of them said. */
  refusal: RawstorError | null = null;
  untilMs = 0;
}

interface SnapshotRequest {
  readonly block: BlockRequest;
  pieces: number;
  error: RawstorError | null;
}

/** A snapshot as a block device to read: from the nearest replica, from the next where one fails. */
export class SnapshotReader implements BlockDevice, ChunkOpOwner {
  readonly readOnly = true;
  readonly multiConnection = true;
  readonly limits = USUAL_LIMITS;
  readonly sizeBytes: number;
  /** Called once when it can serve no more: the snapshot was removed. */
  onFatal: ((error: RawstorError) => void) | null = null;
  private readonly env: SnapshotEnvironment & { readonly io: Io };
  private readonly replicas: SnapshotReplicas;
  private readonly free: SnapshotPiece[] = [];
  /** Done in submit already: answered at the end of the turn. */
  private readonly early: { block: BlockRequest; error: RawstorError | null }[] = [];
  private fatal: RawstorError | null = null;
  private inFlight = 0;
  private drained: (() => void) | null = null;

  constructor(env: SnapshotEnvironment & { readonly io: Io }, replicas: SnapshotReplicas) {
    this.env = env;
    this.replicas = replicas;
    this.sizeBytes = replicas.snapshot.sizeBytes;
  }

  get name(): string {
    return this.replicas.name;
  }

  submit(block: BlockRequest): void {
    if (this.fatal !== null) return this.finishLater(block, this.fatal);
    if (block.op === BlockOp.FLUSH || block.op === BlockOp.CACHE) return this.finishLater(block, null);
    if (block.op !== BlockOp.READ) {
      const error = new RawstorError('READ_ONLY', 'a snapshot is not written', { where: this.name });
      return this.finishLater(block, error);
    }
    this.inFlight++;
    // One more than there are, until all are made: some may end at once.
    const request: SnapshotRequest = { block, pieces: 1, error: null };
    const { chunkSizeBytes } = this.replicas;
    for (let done = 0; done < block.length; ) {
      const offset = block.offset + done;
      const length = pieceLength(offset, block.length - done, chunkSizeBytes, LIMITS.framePayloadBytes);
      const piece = this.free.pop() ?? new SnapshotPiece(this);
      piece.request = request;
      piece.opcode = Opcode.READ;
      piece.chunk = chunkOf(offset, chunkSizeBytes);
      piece.chunkVersion = this.replicas.snapshot.version;
      piece.offset = offset % chunkSizeBytes;
      piece.length = length;
      piece.slices.addRange(block.slices, done, length);
      piece.tried.length = 0;
      piece.refusal = null;
      piece.untilMs = this.env.clock.nowMs() + PATIENCE_MS;
      request.pieces++;
      done += length;
      this.send(piece);
    }
    this.ended(request);
  }

  chunkDone(op: ChunkOp): void {
    const piece = op as SnapshotPiece;
    const session = piece.session!;
    session.inFlight--;
    session.answeredAtMs = this.env.clock.nowMs();
    if (piece.status === 0) return this.pieceDone(piece, null);
    if (isSessionLoss(piece.status)) this.replicas.drop(piece.ostId, session);
    this.failedOn(piece, errorOfStatus(piece.status, `${this.name} on OST ${piece.ostId}`));
  }

  runBatch(): void {
    for (const { block, error } of this.early.splice(0)) block.owner.blockDone(block, error);
  }

  extents(offset: number, length: number): Promise<Extent[]> {
    const { chunkSizeBytes } = this.replicas;
    const end = Math.min(offset + length, this.sizeBytes);
    return chunkExtents(offset, end, chunkSizeBytes, (...range) => this.chunkRuns(...range));
  }

  async close(): Promise<void> {
    this.fatal ??= new RawstorError('UNAVAILABLE', `${this.name} is closed`);
    if (this.inFlight > 0) {
      await new Promise<void>((resolve) => {
        this.drained = resolve;
      });
    }
    this.replicas.close();
  }

  private send(piece: SnapshotPiece): void {
    const ostId = this.replicas.choose(piece.chunk, piece.tried);
    if (ostId === null) return void this.lookAgain(piece);
    piece.ostId = ostId;
    const session = this.replicas.session(ostId);
    if (session !== null) return this.submitOn(piece, session);
    this.replicas.open(ostId).then(
      (opened) => this.submitOn(piece, opened),
      (error) => this.failedOn(piece, asRawstorError(error, `OST ${ostId}`)),
    );
  }

  private submitOn(piece: SnapshotPiece, session: ReplicaSession): void {
    if (session.inFlight++ === 0) session.answeredAtMs = this.env.clock.nowMs();
    piece.session = session;
    piece.handle = session.handle;
    session.peer.submit(piece);
  }

  /** Another replica may have what this one has not, or has it damaged. */
  private failedOn(piece: SnapshotPiece, error: RawstorError): void {
    piece.tried.push(piece.ostId);
    piece.refusal = error;
    this.send(piece);
  }

  /** All have refused: somebody else may be in sync by now, or they come back. */
  private async lookAgain(piece: SnapshotPiece): Promise<void> {
    try {
      await this.replicas.lookAgain();
    } catch (error) {
      const failure = asRawstorError(error);
      if (failure.code === 'NOT_FOUND') {
        this.fail(failure);
        return this.pieceDone(piece, failure);
      }
    }
    const { clock } = this.env;
    const last = piece.refusal;
    const isDamage = last?.code === 'CHECKSUM' || last?.code === 'IO';
    if (isDamage || this.fatal !== null || clock.nowMs() > piece.untilMs) {
      const none = new RawstorError('UNAVAILABLE', 'no replica can be read', { where: this.name });
      return this.pieceDone(piece, last ?? none);
    }
    await clock.sleep(RETRY_MS);
    piece.tried.length = 0;
    piece.refusal = null;
    this.send(piece);
  }

  private pieceDone(piece: SnapshotPiece, error: RawstorError | null): void {
    const request = piece.request!;
    request.error ??= error;
    piece.request = null;
    piece.session = null;
    piece.slices.clear();
    this.free.push(piece);
    this.ended(request);
  }

  private ended(request: SnapshotRequest): void {
    if (--request.pieces > 0) return;
    this.inFlight--;
    this.finishLater(request.block, request.error);
    if (this.inFlight === 0) this.drained?.();
  }

  private async chunkRuns(chunk: number, offset: number, length: number): Promise<number[]> {
    const tried: string[] = [];
    for (;;) {
      const ostId = this.replicas.choose(chunk, tried);
      // Answering "all data" is always true, only less useful.
      if (ostId === null) return [length, 0];
      try {
        const { peer, handle } = await this.replicas.open(ostId);
        const chunkVersion = this.replicas.snapshot.version;
        return (await peer.call('ost.extents', { handle, chunk, chunkVersion, offset, length })).runs;
      } catch {
        tried.push(ostId);
      }
    }
  }

  private fail(error: RawstorError): void {
    if (this.fatal !== null) return;
    this.fatal = error;
    this.onFatal?.(error);
  }

  private finishLater(block: BlockRequest, error: RawstorError | null): void {
    this.early.push({ block, error });
    this.env.io.schedule(this);
  }
}
