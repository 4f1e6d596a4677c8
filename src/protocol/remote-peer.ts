import type { Clock } from '../common/clock.js';
import { RawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import type { PoolBuffer } from '../io/pool.js';
import type { BatchTask, Io } from '../io/types.js';
import type { ChunkOp } from './chunk-op.js';
import { Connection } from './connection.js';
import { ASKS_ONLY, type ConnectionHandler } from './connection-handler.js';
import { STATUS_CHECKSUM, STATUS_CONNECTION_LOST } from './control.js';
import { encodeFrameHeader, FRAME_HEADER_BYTES, FrameFlag, FrameHeader, Opcode } from './frame.js';
import type { Identity } from './hello.js';
import type { MethodName, Params, Result } from './messages.js';
import type { OstPeer } from './ost-peer.js';

/** Slots for headers in one pool buffer of 64 KiB. */
const SLOTS_PER_BUFFER = Math.floor((64 * 1024) / FRAME_HEADER_BYTES);

/**
 * An OST at the other end of a connection. An operation in flight owns a slot: its header stands there until
 * the answer, so that nothing is copied to queue it. Operations beyond LIMITS.connectionInFlight wait here.
 */
export class RemotePeer implements OstPeer, BatchTask {
  readonly local = false;
  onClosed: ((error: Error | null) => void) | null = null;
  onEvent: ((name: string) => void) | null = null;
  private connection!: Connection;
  private readonly io: Io;
  private readonly clock: Clock;
  private readonly header = new FrameHeader();
  /** In flight, by slot; the low bits of a request id are the slot, the high ones tell reuses apart. */
  private readonly inFlight: (ChunkOp | null)[] = [];
  private readonly freeSlots: number[] = [];
  private readonly buffers: PoolBuffer[] = [];
  private readonly waiting: ChunkOp[] = [];
  private failed: ChunkOp[] = [];
  private reuse = 0;
  private ended = false;

  private constructor(io: Io, clock: Clock) {
    this.io = io;
    this.clock = clock;
  }

  static async connect(
    io: Io,
    clock: Clock,
    identity: Identity,
    address: string,
    timeoutMs: number,
    ostId?: string,
  ): Promise<RemotePeer> {
    const peer = new RemotePeer(io, clock);
    peer.connection = await Connection.connect(io, address, {
      identity,
      clock,
      handler: peer.handler(),
      timeoutMs,
    });
    const { remote } = peer.connection;
    if (remote?.role !== 'ost') {
      peer.connection.destroy();
      throw new RawstorError('PROTOCOL', 'there is no OST at this address', { where: address });
    }
    if (ostId !== undefined && remote.serverId !== ostId) {
      peer.connection.destroy();
      const other = `OST ${remote.serverId} answers there, not ${ostId}`;
      // One that was started on an empty directory has the same address, and may have the same boot id.
      throw new RawstorError('UNAVAILABLE', other, {
        where: address,
        hint: 'start it on its own directory: is its disk mounted?',
      });
    }
    return peer;
  }

  get where(): string {
    return this.connection.peer;
  }

  async call<M extends MethodName>(method: M, params: Params<M>, timeoutMs?: number): Promise<Result<M>> {
    return this.connection.call(method, params, timeoutMs);
  }

  submit(op: ChunkOp): void {
    op.sentAtMs = this.clock.nowMs();
    if (this.ended) this.answerLost(op);
    else if (this.freeSlots.length === 0 && !this.addSlots()) this.wait(op);
    else this.send(op, this.freeSlots.pop()!);
  }

  oldestSentAtMs(): number {
    let oldest = this.waiting[0]?.sentAtMs ?? Number.POSITIVE_INFINITY;
    for (const op of this.inFlight) if (op !== null && op.sentAtMs < oldest) oldest = op.sentAtMs;
    return oldest;
  }

  destroy(): void {
    this.connection.destroy();
  }

  private handler(): ConnectionHandler {
    return {
      ...ASKS_ONLY,
      event: (_connection, name) => this.onEvent?.(name),
      data: (_connection, header, buffer, offset) => this.onAnswer(header, buffer, offset),
      closed: (_connection, error) => this.onConnectionClosed(error),
    };
  }

  private onAnswer(header: FrameHeader, buffer: PoolBuffer | null, offset: number): void {
    const slot = header.requestId % 65536;
    const op = this.inFlight[slot];
    if (op == null || op.requestId !== header.requestId || (header.flags & FrameFlag.ANSWER) === 0) {
      this.connection.destroy(
        new RawstorError('PROTOCOL', 'an answer to nothing asked', { where: this.where }),
      );
      return;
    }
    op.status = header.status;
    // Where it is damaged.
    if (header.status === STATUS_CHECKSUM) op.tag = header.tag;
    if (op.opcode === Opcode.READ && header.status === 0) {
      if (buffer === null || header.payloadBytes !== op.length) {
        this.connection.destroy(
          new RawstorError('PROTOCOL', 'an answer of wrong length', { where: this.where }),
        );
        return;
      }
      op.slices.fill(buffer.memory, offset, 0, op.length);
      op.tag = header.tag;
    }
    this.inFlight[slot] = null;
    const next = this.waiting.length > 0 ? this.waiting.shift()! : null;
    if (next !== null) this.send(next, slot);
    else this.freeSlots.push(slot);
    op.owner.chunkDone(op);
  }

  private onConnectionClosed(error: Error | null): void {
    this.ended = true;
    const lost: ChunkOp[] = this.waiting.splice(0);
    for (let slot = 0; slot < this.inFlight.length; slot++) {
      const op = this.inFlight[slot];
      if (op != null) lost.push(op);
      this.inFlight[slot] = null;
    }
    for (const buffer of this.buffers) buffer.release();
    for (const op of lost) {
      op.status = STATUS_CONNECTION_LOST;
      op.owner.chunkDone(op);
    }
    this.onClosed?.(error);
  }

  runBatch(): void {
    const failed = this.failed;
    this.failed = [];
    for (const op of failed) {
      op.status = STATUS_CONNECTION_LOST;
      op.owner.chunkDone(op);
    }
  }

  private answerLost(op: ChunkOp): void {
    this.failed.push(op);
    this.io.schedule(this);
  }

  private send(op: ChunkOp, slot: number): void {
    this.reuse = (this.reuse + 1) % 65536;
    op.requestId = this.reuse * 65536 + slot;
    this.inFlight[slot] = op;
    const header = this.header;
    const isWrite = op.opcode === Opcode.WRITE;
    header.version = this.connection.version;
    header.opcode = op.opcode;
    header.flags = op.fua ? FrameFlag.FUA : 0;
    header.requestId = op.requestId;
    header.handle = op.handle;
    header.chunk = op.chunk;
    header.chunkVersion = op.chunkVersion;
    header.sessionEpoch = op.sessionEpoch;
    header.sessionNumber = op.sessionNumber;
    header.tag = op.tag;
    header.offset = op.offset;
    header.length = op.length;
    header.payloadBytes = isWrite ? op.length : 0;
    const buffer = this.buffers[Math.floor(slot / SLOTS_PER_BUFFER)]!;
    const at = buffer.offset + (slot % SLOTS_PER_BUFFER) * FRAME_HEADER_BYTES;
    encodeFrameHeader(buffer.memory.bytes, at, header);
    this.connection.sendFrame(buffer.memory, at, isWrite ? op.slices : null);
  }

  private wait(op: ChunkOp): void {
    this.waiting.push(op);
    // With operations in flight, answers go on with the next ones; without any, nobody else would.
    if (this.inFlight.length === 0 && this.waiting.length === 1) this.io.pool.whenFree(() => this.goOn());
  }

  private goOn(): void {
    while (this.waiting.length > 0) {
      if (this.freeSlots.length === 0 && !this.addSlots()) {
        if (this.inFlight.length === 0) this.io.pool.whenFree(() => this.goOn());
        return;
      }
      this.send(this.waiting.shift()!, this.freeSlots.pop()!);
    }
  }

  private addSlots(): boolean {
    if (this.inFlight.length >= LIMITS.connectionInFlight) return false;
    const buffer = this.io.pool.acquire(SLOTS_PER_BUFFER * FRAME_HEADER_BYTES);
    if (buffer === null) return false;
    this.buffers.push(buffer);
    for (let i = 0; i < SLOTS_PER_BUFFER; i++) {
      this.freeSlots.push(this.inFlight.length);
      this.inFlight.push(null);
    }
    return true;
  }
}
