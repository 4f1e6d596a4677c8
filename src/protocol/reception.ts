import type { Clock, Timer } from '../common/clock.js';
import { RawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import type { Logger } from '../common/log.js';
import type { Io, Stream } from '../io/types.js';
import { CallGate } from './call-gate.js';
import { Connection } from './connection.js';
import type { ConnectionHandler } from './connection-handler.js';
import { type Identity, refusalFrame } from './hello.js';

export interface ReceptionOptions {
  connectionsMax?: number | undefined;
  /** How long a peer may take nothing of its answers, or bring nothing of a message that has begun. Default 30 s. */
  stillMs?: number | undefined;
  /** When all places are taken, a newcomer gets that of a peer that has said nothing for so long. Default 60 s. */
  quietMs?: number | undefined;
}

/** Refused at a time with a word; more are closed without. */
const TOLD_MAX = 64;
/** Looks in the time that a peer may stand still. */
const LOOKS = 6;
const LOG_PERIOD_MS = 10_000;

/** What is known of one accepted connection. */
interface Guest {
  /** Control bytes queued for it. */
  queuedBytes: number;
  receivedBytes: number;
  arriving: number;
  leaving: number;
  quietSinceMs: number;
  stillSinceMs: number;
}

/**
 * The accepted connections of one server, and what they must share: places, memory for answers, and turns. A peer
 * that reads nothing is not asked for more, then dropped; nobody can make the server keep more than a fixed sum.
 */
export class Reception {
  readonly gate: CallGate;
  private readonly clock: Clock;
  private readonly log: Logger;
  private readonly identity: Identity;
  private readonly options: Required<{ [K in keyof ReceptionOptions]: number }>;
  private readonly guests = new Map<Connection, Guest>();
  private queuedBytes = 0;
  private told = 0;
  private refusedSinceLog = 0;
  private loggedMs = Number.NEGATIVE_INFINITY;
  private timer: Timer | null = null;

  constructor(
    env: { io: Pick<Io, 'pool'>; clock: Clock; log: Logger },
    identity: Identity,
    options: ReceptionOptions = {},
  ) {
    this.clock = env.clock;
    this.log = env.log;
    this.identity = identity;
    this.gate = new CallGate(env.clock);
    this.options = {
      connectionsMax: options.connectionsMax ?? LIMITS.connectionsPerServer,
      stillMs: options.stillMs ?? 30_000,
      quietMs: options.quietMs ?? 60_000,
    };
  }

  /** Null where there is no place for it: it has been told so, as far as possible. */
  accept(stream: Stream, handler: ConnectionHandler): Connection | null {
    if (this.guests.size >= this.options.connectionsMax && !this.makePlace()) {
      this.refuse(stream);
      return null;
    }
    const connection = Connection.accept(stream, this.identity, this.clock, handler, this);
    const nowMs = this.clock.nowMs();
    const guest = { queuedBytes: 0, receivedBytes: 0, arriving: -1, leaving: -1 };
    this.guests.set(connection, { ...guest, quietSinceMs: nowMs, stillSinceMs: nowMs });
    this.timer ??= this.clock.after(this.options.stillMs / LOOKS, () => this.look());
    return connection;
  }

  /** Ends all of them. */
  close(): void {
    this.timer?.cancel();
    this.timer = null;
    this.gate.close();
    for (const connection of [...this.guests.keys()]) connection.destroy();
  }

  /** Control bytes have been queued for a peer, or (less than none) have left. */
  queued(connection: Connection, bytes: number): void {
    const guest = this.guests.get(connection);
    if (guest === undefined) return;
    guest.queuedBytes += bytes;
    this.queuedBytes += bytes;
    while (bytes > 0 && this.queuedBytes > LIMITS.serverControlBytes) {
      const slowest = this.slowest();
      if (slowest === null) return;
      this.drop(slowest, new RawstorError('LIMIT', 'too many answers wait for peers that take none'));
    }
  }

  left(connection: Connection): void {
    const guest = this.guests.get(connection);
    if (guest === undefined) return;
    this.queuedBytes -= guest.queuedBytes;
    this.guests.delete(connection);
  }

  private drop(connection: Connection, error: RawstorError): void {
    this.left(connection);
    this.log.warn({ peer: connection.peer, who: connection.remote?.name }, `dropped: ${error.message}`);
    connection.destroy(error);
  }

  private look(): void {
    this.timer = null;
    const nowMs = this.clock.nowMs();
    for (const [connection, guest] of this.guests) {
      this.update(connection, guest, nowMs);
      if (nowMs - guest.stillSinceMs < this.options.stillMs) continue;
      const what = guest.leaving >= 0 ? 'the peer takes no answers' : 'the peer stopped in a message';
      this.drop(connection, new RawstorError('TIMEOUT', what, { where: connection.peer }));
    }
    if (this.guests.size > 0) this.timer = this.clock.after(this.options.stillMs / LOOKS, () => this.look());
  }

  private update(connection: Connection, guest: Guest, nowMs: number): void {
    const { receivedBytes, arriving, leaving } = connection.stream;
    if (receivedBytes !== guest.receivedBytes) guest.quietSinceMs = nowMs;
    const stood = (before: number, now: number) => before >= 0 && now === before;
    if (!stood(guest.arriving, arriving) && !stood(guest.leaving, leaving)) guest.stillSinceMs = nowMs;
    guest.receivedBytes = receivedBytes;
    guest.arriving = arriving;
    guest.leaving = leaving;
  }

  /** Of those with answers waiting, the one that has stood still longest; of equals, the one with most. */
  private slowest(): Connection | null {
    const nowMs = this.clock.nowMs();
    let slowest: Connection | null = null;
    let sinceMs = Number.POSITIVE_INFINITY;
    let mostBytes = 0;
    for (const [connection, { queuedBytes, leaving, stillSinceMs }] of this.guests) {
      if (queuedBytes === 0) continue;
      const since = leaving >= 0 && leaving === connection.stream.leaving ? stillSinceMs : nowMs;
      if (since > sinceMs || (since === sinceMs && queuedBytes <= mostBytes)) continue;
      slowest = connection;
      sinceMs = since;
      mostBytes = queuedBytes;
    }
    return slowest;
  }

  /** Whoever is at work says something every few seconds; others come back when they want something. */
  private makePlace(): boolean {
    const nowMs = this.clock.nowMs();
    let quietest: Connection | null = null;
    let sinceMs = nowMs - this.options.quietMs;
    for (const [connection, guest] of this.guests) {
      if (connection.stream.receivedBytes !== guest.receivedBytes || guest.quietSinceMs > sinceMs) continue;
      quietest = connection;
      sinceMs = guest.quietSinceMs;
    }
    if (quietest === null) return false;
    this.drop(quietest, new RawstorError('LIMIT', 'its place was needed, and it had said nothing for long'));
    return true;
  }

  private refuse(stream: Stream): void {
    const { connectionsMax } = this.options;
    this.refusedSinceLog++;
    const nowMs = this.clock.nowMs();
    if (nowMs - this.loggedMs >= LOG_PERIOD_MS) {
      const facts = { peer: stream.peer, refused: this.refusedSinceLog, connections: connectionsMax };
      this.log.warn(facts, 'too many connections, new ones are refused');
      this.loggedMs = nowMs;
      this.refusedSinceLog = 0;
    }
    if (this.told >= TOLD_MAX) return stream.destroy();
    this.told++;
    stream.onClose = () => {
      this.told--;
    };
    const text = `this ${this.identity.role} has ${connectionsMax} connections already`;
    const hint = 'try again later, or find out who keeps them: `ss -tnp`';
    stream.sendCopy(refusalFrame(new RawstorError('LIMIT', text, { where: this.identity.name, hint })));
    stream.end();
  }
}
