import { RawstorError } from '../../src/common/errors.js';
import { heapMemory, type Memory } from '../../src/io/memory.js';
import type { OstControl } from '../../src/ost/control.js';
import type { OstCore } from '../../src/ost/core.js';
import type { Session, SessionHolder } from '../../src/ost/session.js';
import {
  ChunkOp,
  type MethodName,
  Opcode,
  type OstPeer,
  type Params,
  type Result,
  STATUS_CONNECTION_LOST,
} from '../../src/protocol/index.js';
import type { Network, Pipe } from './network.js';
import type { OstNode } from './ost-node.js';
import type { SimProcess } from './process.js';
import type { World } from './world.js';

const CONNECT_TIMEOUT_MS = 1000;

/** Connects to the OST's present process. @throws RawstorError UNAVAILABLE, TIMEOUT */
export async function connectOst(
  world: World,
  network: Network,
  from: SimProcess,
  nodes: ReadonlyMap<string, OstNode>,
  ostId: string,
): Promise<SimPeer> {
  const node = nodes.get(ostId)!;
  await roundTrip(network, from, node.name, CONNECT_TIMEOUT_MS);
  const { process } = node;
  if (process === null || !process.alive || !node.serving) {
    throw new RawstorError('UNAVAILABLE', 'connection refused', { where: node.name });
  }
  return new SimPeer(world, network.connect(from, process), node);
}

/** There and back, as a handshake takes it. @throws RawstorError TIMEOUT */
export async function roundTrip(
  network: Network,
  from: SimProcess,
  to: string,
  timeoutMs: number,
): Promise<void> {
  if (network.isCut(from.name, to) || network.isCut(to, from.name)) {
    await from.clock.sleep(timeoutMs);
    throw new RawstorError('TIMEOUT', 'no answer', { where: to });
  }
  await from.clock.sleep(network.delayMs() + network.delayMs());
}

interface PendingCall {
  settle: (answer: { value?: unknown; error?: RawstorError }) => void;
}

/** A client's end of a connection to an OST, and the OST's end of it. */
class SimPeer implements OstPeer {
  readonly local = false;
  readonly where: string;
  onClosed: ((error: Error | null) => void) | null = null;
  private readonly world: World;
  private readonly pipe: Pipe;
  private readonly client: SimProcess;
  private readonly served: ServedClient;
  private readonly inFlight = new Set<ChunkOp>();
  private readonly calls = new Set<PendingCall>();
  onEvent: ((name: string) => void) | null = null;
  /** Told of each write that goes out. */
  onSent: (op: ChunkOp) => void = () => {};
  private queue: ChunkOp[] = [];
  private over = false;
  private readonly node: OstNode;

  constructor(world: World, pipe: Pipe, node: OstNode) {
    this.world = world;
    this.pipe = pipe;
    this.client = pipe.ends[0].process;
    this.where = node.name;
    this.node = node;
    this.served = new ServedClient(pipe, node, (name) => {
      pipe.send(1, `${this.where} tells ${name}`, () => this.onEvent?.(name));
    });
    pipe.ends[0].onClosed = () => this.ended();
  }

  call<M extends MethodName>(method: M, params: Params<M>, timeoutMs = 10_000): Promise<Result<M>> {
    return new Promise((resolve, reject) => {
      if (this.over) return reject(new RawstorError('CONNECTION_LOST', 'the connection is closed'));
      const call: PendingCall = {
        settle: ({ value, error }) => {
          if (!this.calls.delete(call)) return;
          if (error === undefined) resolve(value as Result<M>);
          else reject(error);
        },
      };
      this.calls.add(call);
      this.client.later(timeoutMs, '', () => call.settle({ error: new RawstorError('TIMEOUT', method) }));
      const sent = structuredClone(params);
      this.pipe.send(0, method, () => {
        this.node.onCalled(method);
        this.served.call(method, sent, (answer) => {
          this.pipe.send(1, '', () => call.settle(answer));
        });
      });
    });
  }

  submit(op: ChunkOp): void {
    op.sentAtMs = this.world.nowMs;
    if (this.over) {
      this.client.later(0, '', () => {
        op.status = STATUS_CONNECTION_LOST;
        op.owner.chunkDone(op);
      });
      return;
    }
    this.inFlight.add(op);
    this.queue.push(op);
    this.client.io.schedule(this);
  }

  oldestSentAtMs(): number {
    let oldest = Number.POSITIVE_INFINITY;
    for (const { sentAtMs } of this.inFlight) oldest = Math.min(oldest, sentAtMs);
    return oldest;
  }

  destroy(): void {
    if (this.over) return;
    this.pipe.close(0);
    this.ended();
  }

  runBatch(): void {
    for (const op of this.queue.splice(0)) {
      if (this.over) continue;
      const frame = new Frame(op);
      if (op.opcode > Opcode.READ && op.opcode < Opcode.FLUSH) this.onSent(op);
      this.pipe.send(0, `op ${op.opcode} ${op.chunk}+${op.offset} tag ${op.tag}`, () => {
        if (op.opcode === Opcode.WRITE) this.node.onData('write');
        else if (op.opcode === Opcode.FLUSH) this.node.onData('flush');
        this.served.data(frame, (status, tag, bytes) => {
          this.pipe.send(1, `answer ${status} of ${this.where} to ${frame.fields.opcode}`, () => {
            if (!this.inFlight.delete(op)) return;
            op.status = status;
            op.tag = tag;
            if (bytes !== null) op.slices.fill({ bytes, address: 0 }, 0, 0, bytes.length);
            op.owner.chunkDone(op);
          });
        });
      });
    }
  }

  private ended(): void {
    if (this.over) return;
    this.over = true;
    // As with a real connection: told from the loop, not from within whatever ended it.
    this.client.later(0, `connection to ${this.where} ended`, () => {
      const error = new RawstorError('CONNECTION_LOST', 'the connection ended', { where: this.where });
      for (const call of [...this.calls]) call.settle({ error });
      for (const op of [...this.inFlight]) {
        this.inFlight.delete(op);
        op.status = STATUS_CONNECTION_LOST;
        op.owner.chunkDone(op);
      }
      this.onClosed?.(null);
    });
  }
}

/** A data operation as it is on the wire: a copy. */
class Frame {
  readonly payload: Memory | null;
  readonly fields: Partial<ChunkOp>;
  constructor(op: ChunkOp) {
    const { opcode, fua, handle, sessionEpoch, sessionNumber, chunk, chunkVersion, tag, offset, length } = op;
    this.fields = {
      opcode,
      fua,
      handle,
      sessionEpoch,
      sessionNumber,
      chunk,
      chunkVersion,
      tag,
      offset,
      length,
    };
    this.payload = opcode === Opcode.WRITE ? { bytes: op.slices.toBuffer(), address: 0 } : null;
  }
}

/** What an OST process keeps for one connection. */
class ServedClient implements SessionHolder {
  readonly sessions = new Set<Session>();
  gone = false;
  readonly notify: (name: string) => void;
  private readonly core: OstCore;
  private readonly control: OstControl;

  constructor(pipe: Pipe, node: OstNode, notify: (name: string) => void) {
    this.notify = notify;
    this.core = node.core!;
    this.control = node.control!;
    pipe.ends[1].onClosed = () => {
      this.gone = true;
      for (const session of [...this.sessions]) this.core.endSession(session);
    };
  }

  call(
    method: MethodName,
    params: unknown,
    answer: (answer: { value?: unknown; error?: RawstorError }) => void,
  ): void {
    this.control.call(method, params, this).then(
      (value) => answer({ value: structuredClone(value) }),
      (error) => answer({ error: error as RawstorError }),
    );
  }

  data(frame: Frame, answer: (status: number, tag: number, bytes: Buffer | null) => void): void {
    const op = new ChunkOp({
      chunkDone: () => {
        const reads = op.opcode === Opcode.READ && op.status === 0;
        answer(op.status, op.tag, reads ? op.slices.toBuffer() : null);
      },
    });
    Object.assign(op, frame.fields);
    if (frame.payload !== null) op.slices.add(frame.payload, 0, op.length);
    else if (op.opcode === Opcode.READ) op.slices.add(heapMemory(op.length), 0, op.length);
    this.core.submit(op, this);
  }
}
