import { RawstorError } from '../../src/common/errors.js';
import { silentLogger } from '../../src/common/log.js';
import { heapMemory, type Memory } from '../../src/io/memory.js';
import { OstControl } from '../../src/ost/control.js';
import { CopyEngine } from '../../src/ost/copy.js';
import { OstCore } from '../../src/ost/core.js';
import { Records } from '../../src/ost/records.js';
import type { Session, SessionHolder } from '../../src/ost/session.js';
import { DEFAULT_TUNING } from '../../src/ost/tuning.js';
import {
  ChunkOp,
  type MethodName,
  Opcode,
  type OstConnector,
  type OstInfo,
  type OstPeer,
  type Params,
  type Result,
  STATUS_CONNECTION_LOST,
} from '../../src/protocol/index.js';
import { SimDisk, SimStorage, SimStore } from './disk.js';
import type { Network, Pipe } from './network.js';
import { SimProcess } from './process.js';
import type { World } from './world.js';

const CONNECT_TIMEOUT_MS = 1000;

/** One storage server: a disk that stays, and processes on it that come and go. */
export class OstNode {
  readonly ostId: string;
  readonly name: string;
  readonly disk: SimDisk;
  process: SimProcess | null = null;
  core: OstCore | null = null;
  control: OstControl | null = null;
  /** The present process answers. */
  serving = false;
  onCalled: (method: string) => void = () => {};
  private readonly world: World;
  private readonly network: Network;
  private readonly nodes: Map<string, OstNode>;

  constructor(world: World, network: Network, nodes: Map<string, OstNode>, index: number) {
    this.world = world;
    this.network = network;
    this.nodes = nodes;
    this.name = `ost${index}`;
    this.ostId = `00000000-0000-7000-8000-00000000000${index}`;
    this.disk = new SimDisk(world, this.name);
    nodes.set(this.ostId, this);
  }

  info(): OstInfo {
    return {
      ostId: this.ostId,
      addresses: [`tcp://${this.name}:7777`],
      labels: { host: this.name },
      capacityBytes: 2 ** 40,
      freeBytes: 2 ** 39,
      bootId: this.core?.bootId ?? { kernel: 'none', generation: 0 },
    };
  }

  start(): void {
    const process = new SimProcess(this.world, this.name);
    this.process = process;
    const records = new Records(new SimStore(this.disk, process));
    const env = {
      io: process.io,
      clock: process.clock,
      log: silentLogger,
      kernelBootId: this.disk.kernelBootId,
      dirtyCounters: () => '',
      onFatal: () => this.kill(),
    };
    const tuning = { ...DEFAULT_TUNING, reserveBytes: 0 };
    const core = new OstCore(this.ostId, env, new SimStorage(this.disk, process), records, tuning);
    const connector: OstConnector = {
      connect: (ostId) => connectOst(this.world, this.network, process, this.nodes, ostId),
    };
    this.core = core;
    this.control = new OstControl(core, new CopyEngine(core, connector, tuning.copies), {
      info: () => this.info(),
      loopStallMaxMs: () => 0,
    });
    process.clock.every(1000, () => {
      core.regions.tick++;
    });
    records
      .claim(null, this.ostId, this.name)
      .then(() => core.open())
      .then(
        () => {
          if (this.process === process) this.serving = true;
        },
        (error) => {
          // A disk that is full, for instance: someone starts it again.
          this.world.trace(`${this.name} cannot start: ${error}`);
          process.kill();
        },
      );
  }

  /** kill -9: the page cache stays. */
  kill(): void {
    this.serving = false;
    this.process?.kill();
  }

  powerLoss(): void {
    // Half of the time the others are not told: no kernel is left to close the connections.
    if (this.process !== null) this.process.silentDeath = this.world.chance(0.5);
    this.kill();
    this.disk.powerLoss();
  }
}

/** Connects to the OST's present process. @throws RawstorError UNAVAILABLE, TIMEOUT */
export async function connectOst(
  world: World,
  network: Network,
  from: SimProcess,
  nodes: ReadonlyMap<string, OstNode>,
  ostId: string,
): Promise<OstPeer> {
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
  private queue: ChunkOp[] = [];
  private over = false;
  private readonly node: OstNode;

  constructor(world: World, pipe: Pipe, node: OstNode) {
    this.world = world;
    this.pipe = pipe;
    this.client = pipe.ends[0].process;
    this.where = node.name;
    this.node = node;
    this.served = new ServedClient(pipe, node);
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

  destroy(): void {
    if (this.over) return;
    this.pipe.close(0);
    this.ended();
  }

  runBatch(): void {
    for (const op of this.queue.splice(0)) {
      if (this.over) continue;
      const frame = new Frame(op);
      this.pipe.send(0, `op ${op.opcode} ${op.chunk}+${op.offset} tag ${op.tag}`, () => {
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
  private readonly core: OstCore;
  private readonly control: OstControl;

  constructor(pipe: Pipe, node: OstNode) {
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
