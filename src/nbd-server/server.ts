import { type Clock, systemClock, type Timer } from '../common/clock.js';
import { Gate } from '../common/gate.js';
import { LIMITS } from '../common/limits.js';
import { type Logger, silentLogger } from '../common/log.js';
import { PoolShares } from '../io/index.js';
import type { Address, Io, Listener, Stream } from '../io/types.js';
import { type ExportSource, Exports } from './exports.js';
import { DEFAULT_PHASE_LIMITS, type PhaseLimits } from './phase-context.js';
import { Session } from './session.js';
import type { ExportStats } from './stats.js';

/** An answer to LIST may have megabytes, and stays with who is slow to take it: so many are told at a time, others wait. */
const LISTS_AT_ONCE = 4;

const STILL_MS = 10_000;

export interface NbdServerOptions {
  io: Io;
  exports: ExportSource;
  clock?: Clock;
  log?: Logger;
  /** Default 10 s, for the client's flags and for each of its options. */
  handshakeTimeoutMs?: number;
  /** How long an export stays open without a connection; default 5 s. */
  lingerMs?: number;
  /** How long `drain` and `close` wait for clients to take their answers; default 10 s. */
  drainTimeoutMs?: number;
  connectionsMax?: number;
  /** How long a client that holds memory may stand still while others wait for it; default 10 s. */
  stillMs?: number;
  limits?: Partial<PhaseLimits>;
}

export interface NbdServerStats {
  /** Gauge: connections, those in the handshake too. */
  connections: number;
  connectionsTotal: number;
  /** Turned away because of `connectionsMax`. */
  refusedTotal: number;
  /** Dropped because the client broke the protocol, was too slow to shake hands, or could not be served on. */
  faultsTotal: number;
  /** Of those, dropped because they stood still while others waited for the memory that they held. */
  stoodStillTotal: number;
  exports: Record<string, ExportStats>;
}

/**
 * An NBD server over any block devices: fixed newstyle, structured replies, base:allocation. It listens where
 * it is told, opens exports when they are asked for, and keeps every connection within its bounds.
 */
export class NbdServer {
  private readonly io: Io;
  private readonly clock: Clock;
  private readonly log: Logger;
  private readonly exports: Exports;
  private readonly limits: PhaseLimits;
  private readonly shares: PoolShares;
  private readonly lists = new Gate(LISTS_AT_ONCE);
  private readonly handshakeTimeoutMs: number;
  private readonly drainTimeoutMs: number;
  private readonly connectionsMax: number;
  private readonly listeners: Listener[] = [];
  private readonly sessions = new Set<Session>();
  private closing = false;
  private allGone: (() => void) | null = null;
  private connectionsTotal = 0;
  private refusedTotal = 0;
  private faultsTotal = 0;

  constructor(options: NbdServerOptions) {
    this.io = options.io;
    this.clock = options.clock ?? systemClock;
    this.log = options.log ?? silentLogger;
    this.limits = { ...DEFAULT_PHASE_LIMITS, ...options.limits };
    this.handshakeTimeoutMs = options.handshakeTimeoutMs ?? 10_000;
    this.drainTimeoutMs = options.drainTimeoutMs ?? 10_000;
    this.connectionsMax = options.connectionsMax ?? LIMITS.connectionsPerServer;
    const { heldMaxBytes } = this.limits;
    this.shares = new PoolShares(this.io, this.clock, { heldMaxBytes, stillMs: options.stillMs ?? STILL_MS });
    this.exports = new Exports(options.exports, {
      lingerMs: options.lingerMs ?? 5000,
      openMax: LIMITS.exportsPerServer,
      clock: this.clock,
      log: this.log,
    });
  }

  /** May be called for several addresses. @returns the address with its real port */
  async listen(address: Address): Promise<Address> {
    const listener = await this.io.listen(address, (stream) => this.accept(stream));
    this.listeners.push(listener);
    return listener.address;
  }

  /** Serves a connection that came about elsewhere: a passed descriptor, a socket pair. */
  accept(stream: Stream): void {
    if (this.closing || this.sessions.size >= this.connectionsMax) {
      this.refusedTotal++;
      stream.destroy();
      return;
    }
    this.connectionsTotal++;
    const session = new Session(stream, {
      io: this.io,
      exports: this.exports,
      lists: this.lists,
      shares: this.shares,
      clock: this.clock,
      log: this.log,
      limits: this.limits,
      handshakeTimeoutMs: this.handshakeTimeoutMs,
      shuttingDown: () => this.closing,
      onFault: () => {
        this.faultsTotal++;
      },
      onOver: (over) => this.over(over),
    });
    this.sessions.add(session);
    session.start();
  }

  /**
   * Answers what the export's connections (default: all exports') have sent, ends them and closes the device. Clients
   * that come meanwhile wait and then find the export opened anew: its size may have changed. What is not answered after
   * `patienceMs` is given up: it may wait for something that never comes.
   * @returns whether any was open
   */
  async drain(exportName?: string, patienceMs: number | null = null): Promise<boolean> {
    const names = new Set<string>();
    for (const session of this.sessions) {
      if (session.lease !== null) names.add(session.lease.facts.name);
    }
    if (exportName !== undefined) {
      names.clear();
      names.add(exportName);
    }
    const ended = await Promise.all([...names].map((name) => this.drainOne(name, patienceMs)));
    return ended.includes(true);
  }

  /** Listens no more, drains everything, closes every device. */
  async close(): Promise<void> {
    this.closing = true;
    await Promise.all(this.listeners.map((listener) => listener.close()));
    for (const session of this.sessions) session.end();
    const late = this.destroyLate(() => true);
    await this.exports.close();
    if (this.sessions.size > 0) {
      await new Promise<void>((resolve) => {
        this.allGone = resolve;
      });
    }
    late.cancel();
  }

  stats(): NbdServerStats {
    return {
      connections: this.sessions.size,
      connectionsTotal: this.connectionsTotal,
      refusedTotal: this.refusedTotal,
      faultsTotal: this.faultsTotal,
      stoodStillTotal: this.shares.stoodStillTotal,
      exports: this.exports.allStats(),
    };
  }

  private async drainOne(name: string, patienceMs: number | null): Promise<boolean> {
    const ended = this.exports.end(name);
    const serves = (session: Session) => session.lease?.facts.name === name;
    for (const session of this.sessions) if (serves(session)) session.end();
    const late = this.destroyLate(serves);
    const tooLate =
      patienceMs === null ? null : this.clock.after(patienceMs, () => this.exports.abandon(name));
    const wasOpen = await ended;
    late.cancel();
    tooLate?.cancel();
    return wasOpen;
  }

  /** A client that takes no answers must not hold up the others for good. */
  private destroyLate(concerns: (session: Session) => boolean): Timer {
    return this.clock.after(this.drainTimeoutMs, () => {
      for (const session of this.sessions) if (concerns(session)) session.destroy();
    });
  }

  private over(session: Session): void {
    this.sessions.delete(session);
    if (this.sessions.size === 0) this.allGone?.();
  }
}
