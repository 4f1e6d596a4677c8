import { type BlockOwner, BlockRequest } from '../block/device.js';
import type { RawstorError } from '../common/errors.js';
import { type Span, TRACE, TraceKind, TraceSite } from '../common/trace.js';
import type { Releasable } from '../io/memory.js';
import type { PoolBuffer } from '../io/pool.js';
import { Command } from './constants.js';
import type { Cookie, RequestHeader } from './transmission.js';

/** Which reply a record waits to send while another one has the output to itself. */
export const Emission = { NONE: 0, REPLY: 1, PIECE: 2, ORDERED: 3 } as const;
export type Emission = (typeof Emission)[keyof typeof Emission];

/** From a request being received to its reply being with the kernel. */
const TRACED = new TraceSite('nbd', ['request to volume', 'volume', 'answer to kernel']);
export const Mark = { SUBMITTED: 1, DONE: 2 } as const;

export interface RecordOwner {
  pieceDone(piece: RequestRecord, error: RawstorError | null): void;
  pieceSent(piece: RequestRecord): void;
}

/**
 * One client's request and, in the same record, one piece of it on its way through the device. A request
 * longer than a piece borrows further records for its other pieces, whose `parent` it then is. Allocated
 * with the connection and reused; every field is set again by `begin`.
 */
export class RequestRecord implements BlockOwner, Releasable, Cookie {
  readonly owner: RecordOwner;
  /** Place of this record's reply header in the connection's header memory. */
  readonly headerAt: number;

  // The client's request.
  cookieHigh = 0;
  cookieLow = 0;
  command = 0;
  flags = 0;
  offset = 0;
  length = 0;
  /** What will be answered; 0 while all is well. */
  errno = 0;
  failure: RawstorError | null = null;
  /** Bytes handed to the device so far (READ, ranges) or received from the client (WRITE). */
  started = 0;
  /** Bytes of data queued for sending so far (READ). */
  emitted = 0;
  /** Pieces that are out: at the device, waiting for their turn, or queued for sending. */
  live = 0;
  /** Of those, the ones that wait for their turn in an ordered reply. */
  ready = 0;
  /** One header, then all pieces in order, with nothing else in between. */
  ordered = false;
  headerSent = false;
  /** Its own piece is not in use. */
  ownIdle = true;
  emission: Emission = Emission.NONE;
  /** Its status reply is queued for sending; `release` then ends the request. */
  replying = false;
  /** It is one of the BLOCK_STATUS that the device is asked about, or whose answer has not left. */
  statusOut = false;
  /** A reply made on the spot that waits for its turn. */
  chunk: Buffer | null = null;
  /** While somebody looks where time goes. */
  span: Span | null = null;
  /** Pieces of an ordered reply, oldest first. */
  firstPiece: RequestRecord | null = null;
  lastPiece: RequestRecord | null = null;

  // A piece.
  readonly request: BlockRequest;
  parent: RequestRecord;
  buffer: PoolBuffer | null = null;
  pieceBytes = 0;
  /** Pool bytes on this connection's account. */
  heldBytes = 0;
  pieceReady = false;
  pieceFailed = false;
  nextPiece: RequestRecord | null = null;

  constructor(owner: RecordOwner, headerAt: number) {
    this.owner = owner;
    this.headerAt = headerAt;
    this.request = new BlockRequest(this);
    this.parent = this;
  }

  begin(header: RequestHeader): void {
    this.cookieHigh = header.cookieHigh;
    this.cookieLow = header.cookieLow;
    this.command = header.command;
    this.flags = header.flags;
    this.offset = header.offset;
    this.length = header.length;
    this.errno = 0;
    this.failure = null;
    this.started = 0;
    this.emitted = 0;
    this.live = 0;
    this.ready = 0;
    this.ordered = false;
    this.headerSent = false;
    this.statusOut = false;
    this.ownIdle = true;
    this.firstPiece = null;
    this.lastPiece = null;
    this.parent = this;
    this.span = TRACE.on ? TRACED.begin(traceKindOf(header.command)) : null;
  }

  blockDone(_request: BlockRequest, error: RawstorError | null): void {
    this.span?.mark(Mark.DONE);
    this.owner.pieceDone(this, error);
  }

  /** The kernel has the last byte of this record's reply. */
  release(): void {
    this.owner.pieceSent(this);
  }

  appendPiece(piece: RequestRecord): void {
    piece.nextPiece = null;
    piece.pieceReady = false;
    piece.pieceFailed = false;
    if (this.lastPiece === null) this.firstPiece = piece;
    else this.lastPiece.nextPiece = piece;
    this.lastPiece = piece;
  }

  shiftPiece(): void {
    this.firstPiece = this.firstPiece?.nextPiece ?? null;
    if (this.firstPiece === null) this.lastPiece = null;
  }
}

function traceKindOf(command: number): TraceKind {
  if (command === Command.READ) return TraceKind.READ;
  if (command === Command.WRITE) return TraceKind.WRITE;
  return command === Command.FLUSH ? TraceKind.FLUSH : TraceKind.OTHER;
}

/** A queue of records that never allocates: at most `capacity` of them at once. */
export class RecordRing {
  private readonly slots: (RequestRecord | null)[];
  private head = 0;
  length = 0;

  constructor(capacity: number) {
    this.slots = new Array(capacity).fill(null);
  }

  push(record: RequestRecord): void {
    this.slots[(this.head + this.length++) % this.slots.length] = record;
  }

  first(): RequestRecord | null {
    return this.length === 0 ? null : this.slots[this.head]!;
  }

  shift(): RequestRecord | null {
    if (this.length === 0) return null;
    const record = this.slots[this.head]!;
    this.slots[this.head] = null;
    this.head = (this.head + 1) % this.slots.length;
    this.length--;
    return record;
  }
}
