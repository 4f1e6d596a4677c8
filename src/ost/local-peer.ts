import { RawstorError } from '../common/errors.js';
import {
  type ChunkOp,
  METHODS,
  type MethodName,
  type OstConnector,
  type OstPeer,
  type Params,
  type Result,
  STATUS_CONNECTION_LOST,
  traceServed,
} from '../protocol/index.js';
import type { OstControl } from './control.js';
import type { OstCore } from './core.js';
import type { Session, SessionHolder } from './session.js';

/** Gives clients of the same process an OST by plain calls. */
export class LocalConnector implements OstConnector {
  private readonly core: OstCore;
  private readonly control: OstControl;

  constructor(core: OstCore, control: OstControl) {
    this.core = core;
    this.control = control;
  }

  async connect(): Promise<OstPeer> {
    return new LocalPeer(this.core, this.control);
  }
}

class LocalPeer implements OstPeer, SessionHolder {
  readonly local = true;
  readonly where: string;
  readonly sessions = new Set<Session>();
  onClosed: ((error: Error | null) => void) | null = null;
  onEvent: ((name: string) => void) | null = null;
  private readonly core: OstCore;
  private readonly control: OstControl;
  gone = false;
  private refused: ChunkOp[] = [];

  constructor(core: OstCore, control: OstControl) {
    this.core = core;
    this.control = control;
    this.where = `OST ${core.ostId} in this process`;
  }

  async call<M extends MethodName>(method: M, params: Params<M>): Promise<Result<M>> {
    if (this.gone) throw new RawstorError('CONNECTION_LOST', 'the peer has ended', { where: this.where });
    // Copied by the checks, as between processes: neither side sees what the other changes later.
    const asked = METHODS[method].params.parse(params);
    return METHODS[method].result.parse(await this.control.call(method, asked, this)) as Result<M>;
  }

  submit(op: ChunkOp): void {
    const { io, clock } = this.core.env;
    op.sentAtMs = clock.nowMs();
    traceServed(op, true);
    if (!this.gone) return this.core.submit(op, this);
    this.refused.push(op);
    io.schedule(this);
  }

  /** Not told: what it has not answered it may still put into this process's memory, so it is never given up. */
  oldestSentAtMs(): number {
    return Number.POSITIVE_INFINITY;
  }

  notify(name: string): void {
    this.onEvent?.(name);
  }

  destroy(): void {
    if (this.gone) return;
    this.gone = true;
    const ending = [...this.sessions];
    for (const session of ending) this.core.endSession(session);
    // Answers first, as with a connection: then the end is told.
    Promise.all(ending.map((session) => session.drained())).then(() => this.onClosed?.(null));
  }

  runBatch(): void {
    for (const op of this.refused.splice(0)) {
      op.status = STATUS_CONNECTION_LOST;
      op.owner.chunkDone(op);
    }
  }
}
