import {
  type BlockDevice,
  BlockOp,
  type BlockRequest,
  type Extent,
  type LayerRun,
  type Mark,
  USUAL_LIMITS,
} from '../../block/device.js';
import type { XtsCipher } from '../../block/index.js';
import { asRawstorError, RawstorError } from '../../common/errors.js';
import { LIMITS } from '../../common/limits.js';
import type { Io } from '../../io/types.js';
import type { ChunkOp, ChunkOpOwner } from '../../protocol/chunk-op.js';
import { errorOfStatus, STATUS_CHECKSUM } from '../../protocol/control.js';
import { Opcode } from '../../protocol/frame.js';
import type { ObjectInfo } from '../../protocol/object-info.js';
import { type ChunkRange, chunkMap, extentsOf } from '../extents.js';
import { type Contents, contentsOf } from '../keys/index.js';
import { layerRunsOf, UNKNOWN_DEPTH } from '../layers.js';
import { isSessionLoss } from '../piece-outcome.js';
import { chunkOf, pieceLength } from '../slicing.js';
import { SnapshotPiece, type SnapshotRequest } from './piece.js';
import type { ReadReplicas, ReplicaSession, SnapshotEnvironment } from './replicas.js';

const RETRY_MS = 200;
/** How long a read waits for some replica. */
const PATIENCE_MS = 15_000;

export interface ReaderEnvironment extends SnapshotEnvironment {
  readonly io: Io;
  /** Of an encrypted volume. */
  readonly cipher?: XtsCipher | null;
}

/** A snapshot as a block device to read: from the nearest replica, from the next where one fails. */
export class SnapshotReader implements BlockDevice, ChunkOpOwner {
  readonly readOnly = true;
  readonly multiConnection = true;
  readonly limits = USUAL_LIMITS;
  /** Called once when it can serve no more: the snapshot was removed. */
  onFatal: ((error: RawstorError) => void) | null = null;
  /** A replica has a block with a wrong checksum; the read goes on with another. */
  onDamaged: (() => void) | null = null;
  protected readonly env: ReaderEnvironment;
  private readonly contents: Contents;
  private readonly replicas: ReadReplicas;
  private readonly free: SnapshotPiece[] = [];
  /** Done in submit already: answered at the end of the turn. */
  private readonly early: { block: BlockRequest; error: RawstorError | null }[] = [];
  protected fatal: RawstorError | null = null;
  private inFlight = 0;
  private drained: (() => void) | null = null;

  constructor(env: ReaderEnvironment, replicas: ReadReplicas) {
    this.env = env;
    this.replicas = replicas;
    this.contents = contentsOf(replicas.record, env.cipher, {
      submit: (block) => this.serve(block),
      finishLater: (block, error) => this.finishLater(block, error),
    });
  }

  get sizeBytes(): number {
    return this.replicas.sizeBytes;
  }

  /** The volume, as far as it is known. */
  get object(): ObjectInfo {
    return this.replicas.record;
  }

  get name(): string {
    return this.replicas.name;
  }

  /** That is read: never of two, whatever they are called. */
  get version(): number {
    return this.replicas.version;
  }

  submit(block: BlockRequest): void {
    this.contents.submit(block);
  }

  private serve(block: BlockRequest): void {
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
    if (piece.status === STATUS_CHECKSUM) this.onDamaged?.();
    if (isSessionLoss(piece.status)) this.replicas.drop(piece.ostId, session);
    this.failedOn(piece, errorOfStatus(piece.status, `${this.name} on OST ${piece.ostId}`));
  }

  runBatch(): void {
    for (const { block, error } of this.early.splice(0)) block.owner.blockDone(block, error);
  }

  async extents(offset: number, length: number): Promise<Extent[]> {
    const chunkVersion = this.replicas.version;
    const ask = async ({ peer, handle }: ReplicaSession, range: ChunkRange) =>
      (await peer.call('ost.extents', { handle, chunkVersion, ...range })).runs;
    // "All data" is always true, only less useful.
    return extentsOf(await this.map(offset, length, (range) => this.askReplicas(range, ask, 0)));
  }

  marks(): Mark[] {
    return this.replicas.marks();
  }

  async layers(since: Mark | null, offset: number, length: number): Promise<LayerRun[]> {
    const of = this.replicas.version;
    if (since !== null) this.replicas.checkMark(since);
    const ask = async ({ peer, handle }: ReplicaSession, range: ChunkRange) =>
      (await peer.call('ost.changed', { handle, of, since: since?.version ?? 0, ...range })).runs;
    const judge = async (error: RawstorError) => {
      // An OST that hears of a removal before this does; or one that has nothing of the volume any more.
      if (since === null || error.code !== 'NOT_FOUND') return;
      await this.replicas.lookAgain();
      this.replicas.checkMark(since);
    };
    const runsOf = (range: ChunkRange) => this.askReplicas(range, ask, UNKNOWN_DEPTH, judge);
    return layerRunsOf(await this.map(offset, length, runsOf));
  }

  async close(): Promise<void> {
    await this.contents.settled();
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
    piece.chunkVersion = this.replicas.version;
    const session = this.replicas.session(ostId);
    if (session !== null) return this.submitOn(piece, session);
    this.replicas.open(ostId).then(
      (opened) => this.submitOn(piece, opened),
      (error) => this.failedOn(piece, asRawstorError(error, `OST ${ostId}`)),
    );
  }

  private submitOn(piece: SnapshotPiece, session: ReplicaSession): void {
    // To connect, or to wait for another replica in vain, may have taken longer than a record is relied on.
    if (this.replicas.outdated) return void this.renew(piece);
    if (session.inFlight++ === 0) session.answeredAtMs = this.env.clock.nowMs();
    piece.session = session;
    piece.handle = session.handle;
    piece.sessionEpoch = session.epoch;
    session.peer.submit(piece);
  }

  /** Another replica may have what this one has not, or has it damaged. */
  private failedOn(piece: SnapshotPiece, error: RawstorError): void {
    piece.tried.push(piece.ostId);
    piece.refusal = error;
    this.send(piece);
  }

  private async renew(piece: SnapshotPiece): Promise<void> {
    try {
      await this.replicas.lookAgain();
    } catch (error) {
      const failure = asRawstorError(error);
      if (failure.code === 'NOT_FOUND') this.fail(failure);
      const { clock } = this.env;
      if (this.fatal !== null || clock.nowMs() > piece.untilMs) return this.pieceDone(piece, failure);
      await clock.sleep(RETRY_MS);
    }
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
    if (last?.code === 'NOT_FOUND') await this.replicas.tellOsts();
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

  private map(offset: number, length: number, runsOf: (range: ChunkRange) => Promise<readonly number[]>) {
    const end = Math.min(offset + length, this.sizeBytes);
    return chunkMap(offset, end, this.replicas.chunkSizeBytes, runsOf);
  }

  /** One replica after the other; `unknown` is the state that is always true. @throws RawstorError what `judge` throws */
  private async askReplicas(
    range: ChunkRange,
    ask: (session: ReplicaSession, range: ChunkRange) => Promise<number[]>,
    unknown: number,
    judge: (error: RawstorError) => Promise<void> = async () => {},
  ): Promise<number[]> {
    const tried: string[] = [];
    for (;;) {
      const ostId = this.replicas.choose(range.chunk, tried);
      if (ostId === null) return [range.length, unknown];
      try {
        const session = await this.replicas.open(ostId);
        if (!this.replicas.outdated) return await ask(session, range);
        await this.replicas.lookAgain();
      } catch (error) {
        await judge(asRawstorError(error));
        tried.push(ostId);
      }
    }
  }

  protected refuse(block: BlockRequest, error: unknown): void {
    this.finishLater(block, asRawstorError(error));
  }

  protected fail(error: RawstorError): void {
    if (this.fatal !== null) return;
    this.fatal = error;
    this.onFatal?.(error);
  }

  private finishLater(block: BlockRequest, error: RawstorError | null): void {
    this.early.push({ block, error });
    this.env.io.schedule(this);
  }
}
