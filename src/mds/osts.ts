import { z } from 'zod';
import type { Clock } from '../common/clock.js';
import { asRawstorError, RawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import type { Logger } from '../common/log.js';
import { checkInfoSize, encodeBody, type OstInfo, ostInfoSchema, type Result } from '../protocol/index.js';
import { type Candidate, reserveBytes } from './allocate.js';
import type { AwakeTime } from './awake-time.js';
import type { Caller } from './leases.js';
import { type MetadataStore, prefixRange } from './store.js';
import { decodeAs, OST_PREFIX } from './stored-object.js';

export const storedOstSchema = z.object({
  info: ostInfoSchema,
  seenWallMs: z.number(),
  draining: z.boolean().default(false),
  /** Taken out of the cluster for good; kept so that it does not come back by itself. */
  removed: z.boolean().default(false),
});

/** An OST counts as alive this long after it was last heard. */
export const ALIVE_MS = 10_000;
/** And this long after its connection was lost: it may only be restarting. */
const LOST_GRACE_MS = 3_000;
/** After a start of this process, what it knows from before has so long to come back. */
const RETURN_MS = 5_000;
/** Free space and last-seen times alone are not worth a write more often than this. */
const PERSIST_MS = 60_000;
/** And again after so long where that failed. */
const PERSIST_AGAIN_MS = 10_000;

interface Known {
  info: OstInfo;
  seenWallMs: number;
  aliveUntilMs: number;
  persistedAtMs: number;
  caller: Caller | null;
  draining: boolean;
  removed: boolean;
  /** When it was last known to be there, by the clock of this process. */
  heardAtMs: number;
}

export interface OstsParts {
  readonly store: MetadataStore;
  readonly clock: Clock;
  /** In which OSTs could be heard. */
  readonly time: Pick<AwakeTime, 'nowMs'>;
  readonly log?: Logger | undefined;
}

/** Every OST that ever registered, persisted, and which of them are alive, which only this process knows. */
export class Osts {
  private readonly store: MetadataStore;
  private readonly clock: Clock;
  private readonly time: Pick<AwakeTime, 'nowMs'>;
  private readonly log: Logger | undefined;
  private readonly known = new Map<string, Known>();
  /** Known from before the start and not heard since. */
  private readonly missing = new Set<string>();
  private readonly waiting = new Set<() => void>();
  private backByMs = Number.POSITIVE_INFINITY;

  constructor({ store, clock, time, log }: OstsParts) {
    this.store = store;
    this.clock = clock;
    this.time = time;
    this.log = log;
  }

  /** Calls are taken from here on: only now OSTs can be heard. */
  begin(): void {
    this.backByMs = this.time.nowMs() + RETURN_MS;
    for (const known of this.known.values()) known.heardAtMs = this.time.nowMs();
  }

  async start(): Promise<void> {
    for (const { key, value } of await this.store.range(prefixRange(OST_PREFIX))) {
      const { info, ...kept } = decodeAs(storedOstSchema, key, value);
      const never = Number.NEGATIVE_INFINITY;
      this.known.set(info.ostId, {
        info,
        ...kept,
        heardAtMs: this.time.nowMs(),
        aliveUntilMs: never,
        persistedAtMs: never,
        caller: null,
      });
      if (!kept.removed) this.missing.add(info.ostId);
    }
  }

  /** Whether what this process has not heard of since its start may be called dead. */
  get allBack(): boolean {
    return this.missing.size === 0 || this.time.nowMs() >= this.backByMs;
  }

  /** Until every OST known from before the start was heard, or has had its time. */
  untilBack(): Promise<void> {
    if (this.allBack) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = this.clock.after(this.backByMs - this.time.nowMs(), () => back());
      const back = () => {
        this.waiting.delete(back);
        timer.cancel();
        resolve();
      };
      this.waiting.add(back);
    });
  }

  get count(): number {
    return this.list().length;
  }

  /** Whether the OST's last word came over this connection. */
  isOver(ostId: string, caller: Caller): boolean {
    return this.known.get(ostId)?.caller === caller;
  }

  /** @throws RawstorError CONFLICT when an OST of this id is alive at another address; LIMIT */
  async register(info: OstInfo, caller: Caller): Promise<{ draining: boolean }> {
    checkInfoSize(info);
    const nowMs = this.time.nowMs();
    const before = this.known.get(info.ostId);
    if (before !== undefined) this.checkTwin(before, info, caller, nowMs);
    else if (this.known.size >= LIMITS.ostsPerCluster) {
      throw new RawstorError('LIMIT', `this MDS knows ${this.known.size} OSTs already and takes no more`);
    }
    if (before?.removed === true) {
      throw new RawstorError('DENIED', `OST ${info.ostId} was removed from this cluster`, {
        where: info.addresses.join(', '),
        hint: 'what it held was placed elsewhere: start it on an empty directory, as a new OST',
      });
    }
    const known: Known = {
      info,
      seenWallMs: this.clock.wallMs(),
      aliveUntilMs: nowMs + ALIVE_MS,
      persistedAtMs: before?.persistedAtMs ?? nowMs,
      caller,
      draining: before?.draining ?? false,
      removed: false,
      heardAtMs: nowMs,
    };
    if (before === undefined) await this.persist(known);
    // Heard is heard: whether that can be written down at this moment says nothing about the OST.
    this.known.set(info.ostId, known);
    if (before !== undefined) await this.persistIfDue(known, before);
    if (this.missing.delete(info.ostId) && this.missing.size === 0) for (const back of this.waiting) back();
    return known;
  }

  /** @throws RawstorError NOT_FOUND */
  async mark(ostId: string, change: { draining?: boolean; removed?: boolean }): Promise<void> {
    const known = this.known.get(ostId);
    if (known === undefined || known.removed) {
      throw new RawstorError('NOT_FOUND', `there is no OST ${ostId}`, {
        hint: '`rawstor ost ls` lists them',
      });
    }
    // In memory first: what is placed from here on sees it.
    const before = { draining: known.draining, removed: known.removed };
    Object.assign(known, change);
    try {
      await this.persist(known);
    } catch (error) {
      // It may have registered meanwhile.
      Object.assign(this.known.get(ostId)!, before);
      throw error;
    }
    Object.assign(this.known.get(ostId)!, change);
  }

  isAlive(ostId: string): boolean {
    const known = this.known.get(ostId);
    return known !== undefined && !known.removed && this.time.nowMs() < known.aliveUntilMs;
  }

  /** Those that nobody has heard of for so long, by the clock of this process; removed ones left out. One that was being drained has all the more reason. */
  silentFor(ms: number): string[] {
    const nowMs = this.time.nowMs();
    return this.list()
      .filter(({ alive, heardAtMs }) => !alive && nowMs - heardAtMs >= ms)
      .map(({ info }) => info.ostId);
  }

  private async persistIfDue(known: Known, before: Known): Promise<void> {
    const nowMs = this.time.nowMs();
    const due = nowMs - known.persistedAtMs >= PERSIST_MS;
    if (!due && sameBesidesSpace(before.info, known.info)) return;
    const { draining, removed } = known;
    known.persistedAtMs = nowMs;
    try {
      await this.persist(known);
      // It may have been marked meanwhile, and what was written here be of before.
      const now = this.known.get(known.info.ostId)!;
      if (draining !== now.draining || removed !== now.removed) await this.persist(now);
    } catch (error) {
      known.persistedAtMs = nowMs - PERSIST_MS + PERSIST_AGAIN_MS;
      const reason = asRawstorError(error).toUserText();
      this.log?.error({ ostId: known.info.ostId, reason }, 'where an OST is cannot be written down');
    }
  }

  private async persist({ info, seenWallMs, draining, removed }: Known): Promise<void> {
    const value = encodeBody({ info, seenWallMs, draining, removed });
    await this.store.transact({ checks: [], puts: [{ key: OST_PREFIX + info.ostId, value }] });
  }

  lost(caller: Caller): void {
    const untilMs = this.time.nowMs() + LOST_GRACE_MS;
    for (const known of this.known.values()) {
      if (known.caller !== caller) continue;
      known.caller = null;
      known.aliveUntilMs = Math.min(known.aliveUntilMs, untilMs);
    }
  }

  /** What is known of these, in their order; unknown ones are left out. */
  pick(ostIds: readonly string[]): OstInfo[] {
    const found: OstInfo[] = [];
    for (const ostId of ostIds) {
      const known = this.known.get(ostId);
      if (known !== undefined) found.push(known.info);
    }
    return found;
  }

  list(): (Candidate & { draining: boolean; seenWallMs: number; heardAtMs: number })[] {
    const nowMs = this.time.nowMs();
    const present = [...this.known.values()].filter((known) => !known.removed);
    const all = present.map(({ info, aliveUntilMs, draining, seenWallMs, heardAtMs }) => ({
      info,
      alive: nowMs < aliveUntilMs,
      draining,
      seenWallMs,
      heardAtMs,
    }));
    return all.sort((a, b) => (a.info.ostId < b.info.ostId ? -1 : 1));
  }

  told(): Result<'mds.listOsts'>['osts'] {
    return this.list().map(({ info, alive, draining, seenWallMs }) => {
      return { ...info, alive, draining, lastSeenWallMs: seenWallMs };
    });
  }

  candidates(): Candidate[] {
    return this.list();
  }

  /** Alive ones with room for `sizeBytes` besides their reserve, the emptiest first. */
  withRoom(sizeBytes: number, limit: number): OstInfo[] {
    const room = this.list().filter(
      (o) => o.alive && !o.draining && o.info.freeBytes - reserveBytes(o.info) >= sizeBytes,
    );
    room.sort((a, b) => b.info.freeBytes - a.info.freeBytes);
    return room.slice(0, limit).map((o) => o.info);
  }

  /** A copied directory makes two servers of one identity, which would answer for each other's data. */
  private checkTwin(before: Known, info: OstInfo, caller: Caller, nowMs: number): void {
    const other = before.caller !== null && before.caller !== caller && nowMs < before.aliveUntilMs;
    if (!other || sameList(before.info.addresses, info.addresses)) return;
    throw new RawstorError('CONFLICT', `OST ${info.ostId} is alive at ${before.info.addresses.join(', ')}`, {
      where: info.addresses.join(', '),
      hint: 'two servers run on copies of one directory: stop one, or give the copy a fresh directory',
    });
  }
}

function sameList(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((value, i) => value === b[i]);
}

function sameBesidesSpace(a: OstInfo, b: OstInfo): boolean {
  const plain = (info: OstInfo) =>
    JSON.stringify([info.addresses, info.labels, info.capacityBytes, info.bootId]);
  return plain(a) === plain(b);
}
