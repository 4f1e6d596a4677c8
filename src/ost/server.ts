import { RawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import {
  type Address,
  heapMemory,
  type Listener,
  type PoolAccount,
  PoolShares,
  type Shareholder,
  type Stream,
} from '../io/index.js';
import type { PoolBuffer } from '../io/pool.js';
import {
  type Connection,
  type ConnectionHandler,
  FRAME_HEADER_BYTES,
  type FrameHeader,
  type Identity,
  Opcode,
  Reception,
  Stop,
} from '../protocol/index.js';
import type { OstControl } from './control.js';
import type { OstCore } from './core.js';
import { ServedOp, type ServedOpHost } from './served-op.js';
import type { Session, SessionHolder } from './session.js';

const SLOT_BUFFER_BYTES = 16 * 1024;
const SLOTS_PER_BUFFER = Math.floor(SLOT_BUFFER_BYTES / FRAME_HEADER_BYTES);

/** Of the pool: most that answers to one connection's reads hold. */
const READS_PART = 1 / 4;
/** How long a peer that holds memory may stand still while others wait for it. */
const STILL_MS = 10_000;

/** Serves an OST over TCP and Unix sockets. */
export class OstServer {
  private readonly core: OstCore;
  private readonly control: OstControl;
  private readonly reception: Reception;
  private readonly shares: PoolShares;
  private readonly listeners: Listener[] = [];

  constructor(core: OstCore, control: OstControl, identity: Identity, connectionLimit: number) {
    this.core = core;
    this.control = control;
    const { io, clock } = core.env;
    this.reception = new Reception(core.env, identity, { connectionsMax: connectionLimit });
    const heldMaxBytes = Math.floor(io.pool.capacityBytes * READS_PART);
    this.shares = new PoolShares(io, clock, { heldMaxBytes, stillMs: STILL_MS });
  }

  /** Answers the addresses with the real ports. */
  async listen(addresses: readonly Address[]): Promise<Address[]> {
    for (const address of addresses) {
      this.listeners.push(await this.core.env.io.listen(address, (stream) => this.accept(stream)));
    }
    return this.listeners.map((listener) => listener.address);
  }

  async close(): Promise<void> {
    await Promise.all(this.listeners.map((listener) => listener.close()));
    this.reception.close();
  }

  private accept(stream: Stream): void {
    const client = new Client(this.core, this.control, stream, this.shares);
    client.connection = this.reception.accept(stream, client.handler());
    if (client.connection === null) client.account.close();
  }
}

/** One connection: its sessions and the records of its operations. */
class Client implements SessionHolder, Shareholder, ServedOpHost {
  readonly sessions = new Set<Session>();
  connection: Connection | null = null;
  readonly stream: Stream;
  readonly account: PoolAccount;
  private readonly core: OstCore;
  private readonly control: OstControl;
  private readonly free: ServedOp[] = [];
  private readonly slotBuffers: PoolBuffer[] = [];
  private slotsUsed = 0;
  private inFlight = 0;
  private paused = false;
  /** Reads that wait for a buffer; nothing more is received meanwhile. */
  private parked: ServedOp[] = [];
  private closed = false;

  constructor(core: OstCore, control: OstControl, stream: Stream, shares: PoolShares) {
    this.core = core;
    this.control = control;
    this.stream = stream;
    this.account = shares.open(this);
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

  /** The kernel has the answer: the record is free again. */
  answered(served: ServedOp): void {
    this.inFlight--;
    this.free.push(served);
    if (this.inFlight === 0) this.connection?.answered();
    if (this.paused && this.parked.length === 0 && this.inFlight < LIMITS.connectionInFlight / 2) {
      this.paused = false;
      this.connection?.reading.goOn(Stop.OWNER);
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
    this.connection?.reading.stop(Stop.OWNER);
  }

  private park(served: ServedOp): void {
    this.parked.push(served);
    this.pause();
    if (this.parked.length === 1) this.account.wait();
  }

  memoryBack(): void {
    this.unpark();
  }

  stoodStill(): void {
    const what = 'it stood still while others waited for the memory that it held';
    this.connection?.destroy(new RawstorError('TIMEOUT', what, { where: this.stream.peer }));
  }

  private unpark(): void {
    while (this.parked.length > 0) {
      const served = this.parked[0]!;
      if (!this.closed && !served.findBuffer()) {
        this.account.wait();
        return;
      }
      this.parked.shift();
      this.core.submit(served.op, this);
    }
    if (this.paused && this.inFlight < LIMITS.connectionInFlight) {
      this.paused = false;
      this.connection?.reading.goOn(Stop.OWNER);
    }
  }

  private make(): ServedOp {
    const at = this.slotsUsed % SLOTS_PER_BUFFER;
    if (at === 0) {
      const buffer = this.core.env.io.pool.acquire(SLOT_BUFFER_BYTES);
      // The request is here already: short of memory it is served all the same, a little slower.
      if (buffer === null) return new ServedOp(this, heapMemory(FRAME_HEADER_BYTES), 0);
      this.slotBuffers.push(buffer);
    }
    this.slotsUsed++;
    const { memory, offset } = this.slotBuffers.at(-1)!;
    return new ServedOp(this, memory, offset + at * FRAME_HEADER_BYTES);
  }

  private end(): void {
    this.closed = true;
    const ending = [...this.sessions];
    for (const session of ending) this.core.endSession(session);
    this.account.close();
    this.unpark();
    // Slots stay until the last operation that may still answer into one has ended.
    Promise.all(ending.map((session) => session.drained())).then(() => {
      for (const buffer of this.slotBuffers.splice(0)) buffer.release();
    });
  }
}
