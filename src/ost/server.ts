import { RawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import { type Address, heapMemory, type Listener, type Memory, type Releasable } from '../io/index.js';
import type { PoolBuffer } from '../io/pool.js';
import {
  ChunkOp,
  type ChunkOpOwner,
  Connection,
  type ConnectionHandler,
  encodeFrameHeader,
  FRAME_HEADER_BYTES,
  FrameFlag,
  FrameHeader,
  type Identity,
  Opcode,
} from '../protocol/index.js';
import type { OstControl } from './control.js';
import type { OstCore } from './core.js';
import type { Session, SessionHolder } from './session.js';

const SLOT_BUFFER_BYTES = 16 * 1024;
const SLOTS_PER_BUFFER = Math.floor(SLOT_BUFFER_BYTES / FRAME_HEADER_BYTES);

/** Serves an OST over TCP and Unix sockets. */
export class OstServer {
  private readonly core: OstCore;
  private readonly control: OstControl;
  private readonly identity: Identity;
  private readonly limit: number;
  private readonly listeners: Listener[] = [];
  private readonly clients = new Set<Client>();

  constructor(core: OstCore, control: OstControl, identity: Identity, connectionLimit: number) {
    this.core = core;
    this.control = control;
    this.identity = identity;
    this.limit = connectionLimit;
  }

  /** Answers the addresses with the real ports. */
  async listen(addresses: readonly Address[]): Promise<Address[]> {
    const { io, clock, log } = this.core.env;
    for (const address of addresses) {
      const listener = await io.listen(address, (stream) => {
        if (this.clients.size >= this.limit) {
          log.warn({ peer: stream.peer }, 'too many connections, one is refused');
          return stream.destroy();
        }
        const client = new Client(this.core, this.control, () => this.clients.delete(client));
        this.clients.add(client);
        client.connection = Connection.accept(stream, this.identity, clock, client.handler());
      });
      this.listeners.push(listener);
    }
    return this.listeners.map((listener) => listener.address);
  }

  async close(): Promise<void> {
    await Promise.all(this.listeners.map((listener) => listener.close()));
    for (const client of this.clients) client.connection?.destroy();
  }
}

/** One connection: its sessions and the records of its operations. */
class Client implements SessionHolder {
  readonly sessions = new Set<Session>();
  connection: Connection | null = null;
  private readonly core: OstCore;
  private readonly control: OstControl;
  private readonly onClosed: () => void;
  private readonly free: ServedOp[] = [];
  private readonly slotBuffers: PoolBuffer[] = [];
  private slotsUsed = 0;
  private inFlight = 0;
  private paused = false;
  /** Reads that wait for a buffer; nothing more is received meanwhile. */
  private parked: ServedOp[] = [];
  private closed = false;

  constructor(core: OstCore, control: OstControl, onClosed: () => void) {
    this.core = core;
    this.control = control;
    this.onClosed = onClosed;
  }

  handler(): ConnectionHandler {
    return {
      call: (_connection, method, params) => this.control.call(method, params, this),
      data: (connection, header, buffer, offset) => this.data(connection, header, buffer, offset),
      event: () => {},
      closed: () => this.end(),
      busy: () => this.inFlight > 0,
    };
  }

  private data(connection: Connection, header: FrameHeader, buffer: PoolBuffer | null, offset: number): void {
    this.connection = connection;
    if (buffer !== null && header.opcode !== Opcode.WRITE) {
      const what = `a frame of opcode ${header.opcode} carries a payload`;
      return connection.destroy(new RawstorError('PROTOCOL', what, { where: connection.peer }));
    }
    const served = this.free.pop() ?? this.make();
    this.inFlight++;
    served.take(header, buffer, offset);
    if (header.opcode === Opcode.READ && header.length > 0 && header.length <= LIMITS.framePayloadBytes) {
      if (!served.findBuffer()) return this.park(served);
    }
    this.core.submit(served.op, this);
    if (this.inFlight >= LIMITS.connectionInFlight) this.pause();
  }

  /** The kernel has the answer's header: the record is free again. */
  answered(served: ServedOp): void {
    this.inFlight--;
    this.free.push(served);
    if (this.inFlight === 0) this.connection?.answered();
    if (this.paused && this.parked.length === 0 && this.inFlight < LIMITS.connectionInFlight / 2) {
      this.paused = false;
      this.connection?.stream.resume();
    }
  }

  get gone(): boolean {
    return this.closed;
  }

  notify(name: string, params: unknown): void {
    this.connection?.event(name, params);
  }

  private pause(): void {
    if (this.paused) return;
    this.paused = true;
    this.connection?.stream.pause();
  }

  private park(served: ServedOp): void {
    this.parked.push(served);
    this.pause();
    if (this.parked.length === 1) this.core.env.io.pool.whenFree(() => this.unpark());
  }

  private unpark(): void {
    while (this.parked.length > 0) {
      const served = this.parked[0]!;
      if (!this.closed && !served.findBuffer()) {
        this.core.env.io.pool.whenFree(() => this.unpark());
        return;
      }
      this.parked.shift();
      this.core.submit(served.op, this);
    }
    if (this.paused && this.inFlight < LIMITS.connectionInFlight) {
      this.paused = false;
      this.connection?.stream.resume();
    }
  }

  private make(): ServedOp {
    const at = this.slotsUsed % SLOTS_PER_BUFFER;
    if (at === 0) {
      const buffer = this.core.env.io.pool.acquire(SLOT_BUFFER_BYTES);
      // The request is here already: short of memory it is served all the same, a little slower.
      if (buffer === null) return new ServedOp(this.core, this, heapMemory(FRAME_HEADER_BYTES), 0);
      this.slotBuffers.push(buffer);
    }
    this.slotsUsed++;
    const { memory, offset } = this.slotBuffers.at(-1)!;
    return new ServedOp(this.core, this, memory, offset + at * FRAME_HEADER_BYTES);
  }

  private end(): void {
    this.closed = true;
    const ending = [...this.sessions];
    for (const session of ending) this.core.endSession(session);
    this.onClosed();
    // Slots stay until the last operation that may still answer into one has ended.
    Promise.all(ending.map((session) => session.drained())).then(() => {
      for (const buffer of this.slotBuffers.splice(0)) buffer.release();
    });
  }
}

/** A data operation that came in a frame, and the header of its answer. */
class ServedOp implements ChunkOpOwner, Releasable {
  readonly op: ChunkOp;
  private readonly core: OstCore;
  private readonly client: Client;
  private readonly slot: Memory;
  private readonly slotOffset: number;
  private readonly answer = new FrameHeader();
  private payload: PoolBuffer | null = null;

  constructor(core: OstCore, client: Client, slot: Memory, slotOffset: number) {
    this.core = core;
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
    op.slices.clear();
    if (buffer !== null) {
      // Written from where it was received.
      this.payload = buffer.retain();
      op.slices.add(buffer.memory, offset, header.payloadBytes);
    }
  }

  findBuffer(): boolean {
    const buffer = this.core.env.io.pool.acquire(this.op.length);
    if (buffer === null) return false;
    this.payload = buffer;
    this.op.slices.clear();
    this.op.slices.add(buffer.memory, buffer.offset, this.op.length);
    return true;
  }

  chunkDone(op: ChunkOp): void {
    const { connection } = this.client;
    const payload = this.payload;
    this.payload = null;
    if (this.client.gone || connection === null || connection.closed) {
      payload?.release();
      this.client.answered(this);
      return;
    }
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
    connection.stream.send(this.slot, this.slotOffset, FRAME_HEADER_BYTES, this);
    if (withData) connection.stream.send(payload!.memory, payload!.offset, op.length, payload);
    else payload?.release();
  }

  release(): void {
    this.client.answered(this);
  }
}
