import type { BlockDevice } from '../block/device.js';
import { BlockOp } from '../block/device.js';
import type { RawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import type { PoolAccount } from '../io/index.js';
import type { PoolBuffer } from '../io/pool.js';
import { CommandFlag } from './constants.js';
import type { Replies } from './replies.js';
import { Mark, RecordRing, type RequestRecord } from './request-record.js';

export interface ReadHost {
  /** The stream is gone: nothing more is to be read or sent. */
  readonly aborted: boolean;
  fail(parent: RequestRecord, error: RawstorError): void;
  /** Sends the status reply; only for requests of which nothing was sent. */
  finish(parent: RequestRecord): void;
  /** All of the request's reply is with the kernel. */
  retire(parent: RequestRecord): void;
  /** A record for one more piece, or null where requests to come need the rest. */
  borrowSpare(): RequestRecord | null;
  giveBack(record: RequestRecord): void;
  /** Some reads wait for memory: call `pump` when there may be some. */
  waitForMemory(): void;
  /** The reply has begun as a success and cannot go on: the protocol leaves nothing but to hang up. */
  breakOff(error: RawstorError | null): void;
}

/**
 * READ. Cut in pieces, some of them in flight at a time. With structured replies every piece becomes a chunk
 * that leaves when it is ready. A simple reply, or one that must not be fragmented, is ordered: its header
 * leaves as late as memory allows, so that an error can still be told; after that an error cuts the connection
 * (simple) or is told behind data padded with zeros (structured).
 *
 * A piece that was sent hands its buffer to the next one of its request: once begun, a read needs nobody
 * else's memory to come to its end.
 */
export class ReadPath {
  private readonly device: BlockDevice;
  private readonly account: PoolAccount;
  private readonly replies: Replies;
  private readonly host: ReadHost;
  private readonly structured: boolean;
  private readonly pieceMaxBytes: number;
  private readonly pieceMinBytes: number;
  private readonly piecesMax: number;
  /** Reads that have no memory at all yet, oldest first. */
  private readonly backlog: RecordRing;

  constructor(
    device: BlockDevice,
    account: PoolAccount,
    replies: Replies,
    host: ReadHost,
    options: { structured: boolean; pieceMaxBytes: number; piecesMax: number; capacity: number },
  ) {
    this.device = device;
    this.account = account;
    this.replies = replies;
    this.host = host;
    this.structured = options.structured;
    this.pieceMaxBytes = options.pieceMaxBytes;
    this.pieceMinBytes = Math.max(LIMITS.blockBytes, device.limits.blockSizeMinBytes);
    this.piecesMax = options.piecesMax;
    this.backlog = new RecordRing(options.capacity);
  }

  get waiting(): number {
    return this.backlog.length;
  }

  start(parent: RequestRecord): void {
    if (this.backlog.length === 0) this.startPieces(parent);
    if (parent.live > 0) return;
    this.backlog.push(parent);
    this.host.waitForMemory();
  }

  /** There may be memory again. */
  pump(): void {
    for (;;) {
      const parent = this.backlog.first();
      if (parent === null) return;
      if (this.host.aborted) {
        this.backlog.shift();
        this.host.retire(parent);
        continue;
      }
      this.startPieces(parent);
      if (parent.live === 0) {
        this.host.waitForMemory();
        return;
      }
      this.backlog.shift();
    }
  }

  done(piece: RequestRecord, error: RawstorError | null): void {
    const parent = piece.parent;
    if (error !== null) this.host.fail(parent, error);
    if (parent.ordered) {
      piece.pieceReady = true;
      piece.pieceFailed = error !== null;
      parent.ready++;
      if (this.host.aborted) this.abandon(parent);
      else this.advance(parent);
    } else if (parent.errno !== 0 || this.host.aborted) this.drop(piece);
    else this.replies.piece(piece);
  }

  sent(piece: RequestRecord): void {
    const parent = piece.parent;
    // With one piece left it keeps what it has: once begun it comes to its end.
    const tooMuch = parent.live > 1 && this.account.over();
    if (!this.wantsMore(parent) || this.host.aborted || tooMuch) {
      this.drop(piece);
      return;
    }
    this.startPiece(parent, piece, piece.buffer!);
    if (parent.live < this.piecesMax && this.backlog.length === 0) this.startPieces(parent);
  }

  /** It is the ordered reply's turn. */
  orderedTurn(parent: RequestRecord): void {
    this.replies.orderedHeader(parent);
    parent.headerSent = true;
    this.advance(parent);
  }

  /** The stream is gone: lets go of what waited for its turn. */
  abandon(parent: RequestRecord): void {
    while (parent.firstPiece?.pieceReady) this.dropFirst(parent);
  }

  /** Gives the piece's memory back, and ends its request if this was the last of it. */
  drop(piece: RequestRecord): void {
    const parent = piece.parent;
    this.account.heldBytes -= piece.heldBytes;
    piece.heldBytes = 0;
    piece.buffer!.release();
    piece.buffer = null;
    parent.live--;
    if (piece === parent) parent.ownIdle = true;
    else this.host.giveBack(piece);
    if (parent.live > 0) return;
    // What was emitted in full, or padded in full, has had its last word already.
    if (this.host.aborted || parent.emitted === parent.length) this.host.retire(parent);
    else this.host.finish(parent);
  }

  private wantsMore(parent: RequestRecord): boolean {
    return parent.started < parent.length && (parent.errno === 0 || parent.headerSent);
  }

  private startPieces(parent: RequestRecord): void {
    while (this.wantsMore(parent) && parent.live < this.piecesMax) {
      const piece = parent.ownIdle ? parent : this.host.borrowSpare();
      if (piece === null) return;
      const buffer = this.buffer(Math.min(this.pieceMaxBytes, parent.length - parent.started));
      if (buffer === null) {
        if (piece !== parent) this.host.giveBack(piece);
        return;
      }
      if (parent.live++ === 0 && parent.started === 0) {
        const whole = Math.min(this.pieceMaxBytes, buffer.sizeBytes) >= parent.length;
        parent.ordered = !whole && (!this.structured || (parent.flags & CommandFlag.DF) !== 0);
      }
      piece.heldBytes = buffer.sizeBytes;
      this.startPiece(parent, piece, buffer);
    }
  }

  private buffer(sizeBytes: number): PoolBuffer | null {
    const fitting = this.account.fitting(sizeBytes, this.pieceMinBytes);
    return this.account.acquire(fitting) ?? this.account.acquireLess(fitting, this.pieceMinBytes);
  }

  /** `piece` counts as live already and owns the buffer. */
  private startPiece(parent: RequestRecord, piece: RequestRecord, buffer: PoolBuffer): void {
    if (piece === parent) parent.ownIdle = false;
    piece.parent = parent;
    piece.buffer = buffer;
    const length = Math.min(this.pieceMaxBytes, buffer.sizeBytes, parent.length - parent.started);
    piece.pieceBytes = length;
    const { request } = piece;
    request.op = BlockOp.READ;
    request.flags = 0;
    request.offset = parent.offset + parent.started;
    request.length = length;
    parent.started += length;
    if (parent.ordered) parent.appendPiece(piece);
    if (parent.errno !== 0) {
      // Only padding is left to send.
      piece.pieceReady = true;
      piece.pieceFailed = true;
      parent.ready++;
      this.advance(parent);
      return;
    }
    request.slices.clear();
    request.slices.add(buffer.memory, buffer.offset, length);
    piece.span?.mark(Mark.SUBMITTED);
    this.device.submit(request);
  }

  /** Sends what of an ordered reply is ready and next. */
  private advance(parent: RequestRecord): void {
    if (!parent.headerSent) {
      if (parent.errno !== 0) this.abandon(parent);
      // All it could get memory for is here.
      else if (parent.ready === parent.live && parent.emission === 0) this.replies.hold(parent);
      return;
    }
    for (;;) {
      const piece = parent.firstPiece;
      if (piece === null || !piece.pieceReady) return;
      if (piece.pieceFailed) {
        if (!this.structured) {
          this.host.breakOff(parent.failure);
          return;
        }
        const from = piece.buffer!.offset;
        piece.buffer!.memory.bytes.fill(0, from, from + piece.pieceBytes);
      }
      parent.shiftPiece();
      parent.ready--;
      parent.emitted += piece.pieceBytes;
      // Sending may come back here at once, on a stream that no longer sends.
      const last = parent.emitted === parent.length;
      this.replies.orderedPiece(piece);
      if (last) {
        this.replies.orderedEnd(parent);
        return;
      }
    }
  }

  private dropFirst(parent: RequestRecord): void {
    const piece = parent.firstPiece!;
    parent.shiftPiece();
    parent.ready--;
    this.drop(piece);
  }
}
