import { systemClock } from '../../../src/common/clock.js';
import { ERROR_CODES, RawstorError } from '../../../src/common/errors.js';
import {
  type BootId,
  type ChunkOp,
  type MethodName,
  Opcode,
  type OstConnector,
  type OstPeer,
  type Params,
  type Result,
  STATUS_CONNECTION_LOST,
} from '../../../src/protocol/index.js';

/**
 * The way to one real OST, on which a test sees what a client sends and keeps back what it wants. While it is
 * away nobody reaches it; with `losses` above 0 it comes back as after so many losses of power.
 */
export class WatchedOst implements OstConnector {
  away = false;
  losses = 0;
  /** Opcodes of all operations but pings. */
  readonly seen: number[] = [];
  /** Opcodes of those it has answered without an error. */
  readonly answers: number[] = [];
  /** Tags of writes. */
  readonly tags: number[] = [];
  /** Operations that it says yes to wait for `release`. */
  holds: (op: ChunkOp) => boolean = () => false;
  /** Calls to it wait for this. */
  beforeCall: (method: MethodName) => Promise<void> = async () => {};
  /** Calls that it has answered without an error. */
  readonly called: MethodName[] = [];
  /** Sources of the copies it was asked for, and what the next ones are answered instead of being done. */
  readonly sources: string[] = [];
  readonly copyAnswers: Result<'ost.copy'>[] = [];
  private readonly peers = new Set<WatchedPeer>();
  private readonly reach: () => OstConnector;

  constructor(reach: () => OstConnector) {
    this.reach = reach;
  }

  /** Another way to the same OST, which nothing that is done to this one touches. */
  way(): WatchedOst {
    return new WatchedOst(this.reach);
  }

  async connect(ostId: string, addresses: readonly string[], timeoutMs: number): Promise<OstPeer> {
    if (this.away) {
      await systemClock.sleep(20);
      throw new RawstorError('UNAVAILABLE', 'the OST is away');
    }
    const peer = new WatchedPeer(this, ostId, await this.reach().connect(ostId, addresses, timeoutMs));
    this.peers.add(peer);
    return peer;
  }

  /** Ends every session. */
  cut(): void {
    for (const peer of this.peers) peer.destroy();
    this.peers.clear();
  }

  get held(): number {
    return [...this.peers].reduce((sum, peer) => sum + peer.held.length, 0);
  }

  release(): void {
    this.holds = () => false;
    for (const peer of this.peers) peer.release();
  }

  /** Answers what was kept back as an OST without space does. */
  refuse(): void {
    this.holds = () => false;
    for (const peer of this.peers) peer.answer(ERROR_CODES.NO_SPACE.wire);
  }

  answered(opcode: number): number {
    return this.answers.filter((one) => one === opcode).length;
  }

  count(opcode: number): number {
    return this.seen.filter((one) => one === opcode).length;
  }
}

class WatchedPeer implements OstPeer {
  readonly local = false;
  held: ChunkOp[] = [];
  private readonly ost: WatchedOst;
  private readonly ostId: string;
  private readonly peer: OstPeer;

  constructor(ost: WatchedOst, ostId: string, peer: OstPeer) {
    this.ost = ost;
    this.ostId = ostId;
    this.peer = peer;
  }

  get where(): string {
    return this.peer.where;
  }

  get onEvent() {
    return this.peer.onEvent ?? null;
  }

  set onEvent(told: ((name: string) => void) | null) {
    this.peer.onEvent = told;
  }

  get onClosed() {
    return this.peer.onClosed;
  }

  set onClosed(told: ((error: Error | null) => void) | null) {
    this.peer.onClosed = told;
  }

  async call<M extends MethodName>(method: M, params: Params<M>, timeoutMs?: number): Promise<Result<M>> {
    await this.ost.beforeCall(method);
    if (method === 'ost.copy') {
      this.ost.sources.push((params as Params<'ost.copy'>).sourceOstId);
      const instead = this.ost.copyAnswers.shift();
      if (instead !== undefined) return instead as Result<M>;
    }
    const answer = await this.peer.call(method, withRealSource(method, params), timeoutMs);
    this.ost.called.push(method);
    if (method !== 'ost.attach') return answer;
    const { bootId } = answer as { bootId: BootId };
    realBootIds.set(this.ostId, bootId);
    if (this.ost.losses === 0) return answer;
    return { ...answer, bootId: { ...bootId, generation: bootId.generation + this.ost.losses } };
  }

  submit(op: ChunkOp): void {
    if (op.opcode !== Opcode.PING) this.ost.seen.push(op.opcode);
    if (op.opcode === Opcode.WRITE) this.ost.tags.push(op.tag);
    if (this.ost.holds(op)) {
      op.sentAtMs = systemClock.nowMs();
      this.held.push(op);
    } else this.pass(op);
  }

  oldestSentAtMs(): number {
    return Math.min(this.peer.oldestSentAtMs(), ...this.held.map(({ sentAtMs }) => sentAtMs));
  }

  private pass(op: ChunkOp): void {
    const { owner } = op;
    op.owner = {
      chunkDone: (done) => {
        done.owner = owner;
        if (done.status === 0) this.ost.answers.push(done.opcode);
        owner.chunkDone(done);
      },
    };
    this.peer.submit(op);
  }

  release(): void {
    for (const op of this.held.splice(0)) this.pass(op);
  }

  answer(status: number): void {
    for (const op of this.held.splice(0)) {
      op.status = status;
      op.owner.chunkDone(op);
    }
  }

  destroy(): void {
    this.answer(STATUS_CONNECTION_LOST);
    this.peer.destroy();
  }
}

/** By OST id, as each has told it when it was attached. */
const realBootIds = new Map<string, BootId>();

/** The real source of a copy does not know of losses that are only said here. */
function withRealSource<M extends MethodName>(method: M, params: Params<M>): Params<M> {
  if (method !== 'ost.copy') return params;
  const { sourceBootId, sourceOstId } = params as Params<'ost.copy'>;
  return { ...params, sourceBootId: realBootIds.get(sourceOstId) ?? sourceBootId };
}
