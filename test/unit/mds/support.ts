import type { Clock, Timer } from '../../../src/common/clock.js';
import { type ErrorCode, RawstorError } from '../../../src/common/errors.js';
import { seededRandom } from '../../../src/common/random.js';
import { GiB } from '../../../src/common/units.js';
import { Mds, MemoryStore, type MetadataStore } from '../../../src/mds/index.js';
import type { CreateSpec, Notice, OstInfo } from '../../../src/protocol/index.js';

/** Time that passes only when a test says so. */
export class ManualClock implements Clock {
  private now = 1000;
  private wall = Date.UTC(2026, 0, 1);
  private readonly timers = new Set<{ dueMs: number; periodMs: number | null; action: () => void }>();

  nowMs(): number {
    return this.now;
  }
  wallMs(): number {
    return this.wall;
  }
  after(delayMs: number, action: () => void): Timer {
    return this.add(delayMs, null, action);
  }
  every(periodMs: number, action: () => void): Timer {
    return this.add(periodMs, periodMs, action);
  }
  sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => this.after(delayMs, resolve));
  }
  advance(ms: number): void {
    const untilMs = this.now + ms;
    for (;;) {
      const due = [...this.timers].filter((t) => t.dueMs <= untilMs).sort((a, b) => a.dueMs - b.dueMs)[0];
      if (due === undefined) break;
      this.pass(due.dueMs);
      if (due.periodMs === null) this.timers.delete(due);
      else due.dueMs += due.periodMs;
      due.action();
    }
    this.pass(untilMs);
  }
  /** Time goes by without any timer: the process is stopped. Those that are due come with the next advance. */
  holdUp(ms: number): void {
    this.pass(this.now + ms);
    for (const timer of this.timers) timer.dueMs = Math.max(timer.dueMs, this.now);
  }
  setWall(wallMs: number): void {
    this.wall = wallMs;
  }
  private pass(toMs: number): void {
    this.wall += toMs - this.now;
    this.now = toMs;
  }
  private add(delayMs: number, periodMs: number | null, action: () => void): Timer {
    const timer = { dueMs: this.now + delayMs, periodMs, action };
    this.timers.add(timer);
    return { cancel: () => void this.timers.delete(timer) };
  }
}

/** Readable ids: `testId(0x17)` ends in 17. */
export function testId(number: number): string {
  return `01900000-0000-7000-8000-${number.toString(16).padStart(12, '0')}`;
}

export function ostInfo(number: number, changes: Partial<OstInfo> = {}): OstInfo {
  return {
    ostId: testId(number),
    addresses: [`tcp://127.0.0.1:${7000 + number}`],
    labels: { host: `host${number}` },
    capacityBytes: 100 * GiB,
    freeBytes: 80 * GiB,
    bootId: { kernel: 'k', generation: 1 },
    ...changes,
  };
}

export function createSpec(changes: Partial<CreateSpec> = {}): CreateSpec {
  return {
    name: 'vol',
    sizeBytes: 4 * GiB,
    chunkSizeBytes: GiB,
    replicas: 2,
    minReplicas: 1,
    stripeWidth: 1,
    failureDomain: 'host',
    near: null,
    onDegraded: 'pause',
    ...changes,
  };
}

interface OpenChanges {
  ref?: string;
  force?: boolean;
  caller?: object;
  after?: number;
}

/** An MDS over a store, without sockets, with OSTs 1 to `osts` registered. */
export class Rig {
  readonly clock = new ManualClock();
  readonly removed: { objectId: string; ostIds: readonly string[] }[] = [];
  /** What holders were told, and over which connection. */
  readonly notices: { caller: object; notice: Notice }[] = [];
  readonly store: MetadataStore;
  mds!: Mds;

  private constructor(store: MetadataStore) {
    this.store = store;
  }

  static async start(osts = 3, store: MetadataStore = new MemoryStore()): Promise<Rig> {
    const rig = new Rig(store);
    await rig.restart();
    await rig.registerOsts(osts);
    return rig;
  }

  /** As after the end of the process: only the store is left. */
  async restart(options: { replaceAfterMs?: number } = {}): Promise<void> {
    await this.mds?.end();
    this.mds = await Mds.start({
      ...options,
      store: this.store,
      clusterId: testId(0xc1),
      clock: this.clock,
      random: seededRandom(7),
      onRemoved: (objectId, ostIds) => void this.removed.push({ objectId, ostIds }),
      onNotice: (caller, notice) => void this.notices.push({ caller, notice }),
    });
  }

  async registerOsts(osts: number): Promise<void> {
    for (let number = 1; number <= osts; number++) await this.mds.registerOst(ostInfo(number), this);
  }

  /** Opens for write as `holder`, which is also its connection unless given. */
  openFor(holder: string, changes: OpenChanges = {}) {
    const { ref = 'vol', force = false, caller = {}, after } = changes;
    return this.mds.open({ ref, mode: 'write', holder, force, after }, caller);
  }
}

/** Awaits a failure and answers it. */
export async function failure(code: ErrorCode, promise: Promise<unknown>): Promise<RawstorError> {
  let error: unknown;
  try {
    await promise;
  } catch (thrown) {
    error = thrown;
  }
  if (!(error instanceof RawstorError))
    throw new Error(`expected ${code}, got ${String(error ?? 'an answer')}`);
  if (error.code !== code) throw new Error(`expected ${code}, got ${error.toUserText()}`, { cause: error });
  return error;
}
