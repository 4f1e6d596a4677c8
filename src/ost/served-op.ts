import type { Memory, PoolAccount, Releasable } from '../io/index.js';
import type { PoolBuffer } from '../io/pool.js';
import {
  ChunkOp,
  type ChunkOpOwner,
  type Connection,
  encodeFrameHeader,
  FRAME_HEADER_BYTES,
  FrameFlag,
  FrameHeader,
  Mark,
  Opcode,
  traceEnd,
  traceServed,
} from '../protocol/index.js';

/** The connection that an operation came over. */
export interface ServedOpHost {
  readonly connection: Connection | null;
  readonly account: PoolAccount;
  /** Nobody is there to be answered. */
  readonly gone: boolean;
  answered(served: ServedOp): void;
}

/** A data operation that came in a frame, and the header of its answer. */
export class ServedOp implements ChunkOpOwner, Releasable {
  readonly op: ChunkOp;
  private readonly client: ServedOpHost;
  private readonly slot: Memory;
  private readonly slotOffset: number;
  private readonly answer = new FrameHeader();
  private payload: PoolBuffer | null = null;
  /** Of it on the connection's account. */
  private heldBytes = 0;

  constructor(client: ServedOpHost, slot: Memory, slotOffset: number) {
    this.client = client;
    this.slot = slot;
    this.slotOffset = slotOffset;
    this.op = new ChunkOp(this);
  }

  take(header: FrameHeader, buffer: PoolBuffer | null, offset: number): void {
    const { op } = this;
    op.opcode = header.opcode;
    op.fua = (header.flags & FrameFlag.FUA) !== 0;
    op.handle = header.handle;
    op.sessionEpoch = header.sessionEpoch;
    op.sessionNumber = header.sessionNumber;
    op.chunk = header.chunk;
    op.chunkVersion = header.chunkVersion;
    op.tag = header.tag;
    op.offset = header.offset;
    op.length = header.length;
    op.requestId = header.requestId;
    traceServed(op, false);
    op.slices.clear();
    if (buffer !== null) {
      // Written from where it was received.
      this.payload = buffer.retain();
      op.slices.add(buffer.memory, offset, header.payloadBytes);
    }
  }

  findBuffer(): boolean {
    const buffer = this.client.account.acquire(this.op.length);
    if (buffer === null) return false;
    this.heldBytes = buffer.sizeBytes;
    this.payload = buffer;
    this.op.slices.clear();
    this.op.slices.add(buffer.memory, buffer.offset, this.op.length);
    return true;
  }

  chunkDone(op: ChunkOp): void {
    const { connection } = this.client;
    op.span?.mark(Mark.ANSWERED);
    if (this.client.gone || connection === null || connection.closed) {
      this.release();
      return;
    }
    const { payload } = this;
    const withData = op.opcode === Opcode.READ && op.status === 0;
    const { answer } = this;
    answer.version = connection.version;
    answer.opcode = op.opcode;
    answer.flags = FrameFlag.ANSWER;
    answer.requestId = op.requestId;
    answer.handle = op.handle;
    answer.chunk = op.chunk;
    answer.chunkVersion = op.chunkVersion;
    answer.sessionEpoch = op.sessionEpoch;
    answer.sessionNumber = op.sessionNumber;
    answer.status = op.status;
    answer.tag = op.tag;
    answer.offset = op.offset;
    answer.length = op.length;
    answer.payloadBytes = withData ? op.length : 0;
    encodeFrameHeader(this.slot.bytes, this.slotOffset, answer);
    const { stream } = connection;
    if (!withData) this.letGo();
    stream.send(this.slot, this.slotOffset, FRAME_HEADER_BYTES, withData ? null : this);
    if (withData) stream.send(payload!.memory, payload!.offset, op.length, this);
  }

  /** The kernel has all of the answer. */
  release(): void {
    traceEnd(this.op);
    this.letGo();
    this.client.answered(this);
  }

  private letGo(): void {
    this.client.account.heldBytes -= this.heldBytes;
    this.heldBytes = 0;
    this.payload?.release();
    this.payload = null;
  }
}
