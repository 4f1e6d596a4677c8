import type { BlockDevice } from '../block/device.js';
import type { Clock, Timer } from '../common/clock.js';
import { asRawstorError, RawstorError } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import type { ExportName } from './handshake.js';
import type { ExportFacts } from './handshake-codec.js';
import { ExportStats } from './stats.js';

/** Where exports come from: volumes of a cluster, or a device made for a test. */
export interface ExportSource {
  /** What LIST tells; also how the empty name finds its export. */
  list(): Promise<readonly ExportName[]>;
  /**
   * Called once for all connections of an export; `close` of the device follows the last one.
   * @throws RawstorError NOT_FOUND, BUSY, DENIED, ...; its text is told to the client
   */
  open(name: string): Promise<BlockDevice>;
  /** What INFO tells of an export that is not open, without opening it. Default: opens it. */
  describe?(name: string): Promise<ExportFacts>;
  /**
   * Whether the name still means this device, which was opened under it, and it can serve. Default: always.
   * @throws RawstorError where that cannot be learned
   */
  isStill?(name: string, device: BlockDevice): Promise<boolean>;
  description?(name: string): string | undefined;
}

/** Of so many exports counters are kept, of those that are open in any case: snapshots come and go by name. */
const STATS_KEPT = 1024;

export interface ExportsOptions {
  /** How long an export stays open after its last connection: clients look at it first, then come back. */
  lingerMs: number;
  openMax: number;
  clock: Clock;
  log: Logger;
}

interface Entry {
  readonly name: string;
  readonly opening: Promise<BlockDevice>;
  device: BlockDevice | null;
  users: number;
  linger: Timer | null;
  /** Set when it takes no new connections; resolved when its device is closed. */
  ending: { promise: Promise<void>; resolve: () => void } | null;
}

/** One connection's share of an open export. */
export class Lease {
  readonly device: BlockDevice;
  readonly facts: ExportFacts;
  readonly stats: ExportStats;
  private giveBack: (() => void) | null;

  constructor(device: BlockDevice, facts: ExportFacts, stats: ExportStats, giveBack: () => void) {
    this.device = device;
    this.facts = facts;
    this.stats = stats;
    this.giveBack = giveBack;
  }

  release(): void {
    const giveBack = this.giveBack;
    this.giveBack = null;
    giveBack?.();
  }
}

/** Opens exports when the first connection asks, shares them among all, closes them after the last. */
export class Exports {
  private readonly source: ExportSource;
  private readonly options: ExportsOptions;
  private readonly entries = new Map<string, Entry>();
  /** Open for those who are connected, while their name has come to mean something else. */
  private readonly aside = new Set<Entry>();
  private readonly statsOf = new Map<string, ExportStats>();
  private closing = false;

  constructor(source: ExportSource, options: ExportsOptions) {
    this.source = source;
    this.options = options;
  }

  list(): Promise<readonly ExportName[]> {
    return this.source.list();
  }

  /** @throws RawstorError whatever the source throws; LIMIT when too many exports are open */
  async acquire(requestedName: string): Promise<Lease> {
    const name = await this.resolve(requestedName);
    for (;;) {
      if (this.closing) throw new RawstorError('UNAVAILABLE', 'the server is shutting down');
      const known = this.entries.get(name);
      if (known !== undefined && known.ending !== null) {
        await known.ending.promise;
        continue;
      }
      const entry = known ?? this.open(name);
      entry.users++;
      entry.linger?.cancel();
      entry.linger = null;
      try {
        const device = await entry.opening;
        if (known !== undefined) await this.lookAfter(entry, device);
        if (this.takesNew(entry)) {
          device.rest?.(false);
          // Of what may fail nothing is needed: the size stays what it was.
          await device.refresh?.().catch(() => {});
        }
        // A size that is found to be another one ends it, so that those who are connected see it.
        if (this.takesNew(entry)) {
          const facts = this.factsOf(name, device);
          return new Lease(device, facts, this.stats(name), () => this.leave(entry));
        }
      } catch (error) {
        this.leave(entry);
        throw asRawstorError(error, name);
      }
      this.leave(entry);
    }
  }

  /** What INFO tells. @throws as `acquire` does */
  async facts(requestedName: string): Promise<ExportFacts> {
    if (this.source.describe !== undefined) {
      const name = await this.resolve(requestedName);
      const device = this.entries.get(name)?.device ?? null;
      if (device === null || !(await this.isStill(name, device))) return await this.source.describe(name);
      return this.factsOf(name, device);
    }
    const lease = await this.acquire(requestedName);
    lease.release();
    return lease.facts;
  }

  /** Lets nobody in until the export's last connection has left and its device is closed; false when it was not open. */
  async end(name: string): Promise<boolean> {
    const open = this.allOf(name);
    await Promise.all(open.map((entry) => this.endEntry(entry)));
    return open.length > 0;
  }

  /** What its connections wait for is not waited for any longer. */
  abandon(name: string): void {
    for (const { device } of this.allOf(name)) device?.abandon?.();
  }

  async close(): Promise<void> {
    this.closing = true;
    await Promise.all([...this.entries.values(), ...this.aside].map((entry) => this.endEntry(entry)));
  }

  /** Counters of every export that is open here, and of those that were lately. */
  allStats(): Record<string, ExportStats> {
    return Object.fromEntries(this.statsOf);
  }

  private async resolve(name: string): Promise<string> {
    if (name !== '') return name;
    const names = await this.source.list();
    const first = names.filter((entry) => entry.named !== true);
    if (first.length === 1) return first[0]!.name;
    if (names.some((entry) => entry.name === '')) return '';
    throw new RawstorError('NOT_FOUND', `no default export: there are ${names.length} exports here`, {
      hint: 'name the export',
    });
  }

  private open(name: string): Entry {
    if (this.entries.size + this.aside.size >= this.options.openMax) {
      throw new RawstorError('LIMIT', `${this.options.openMax} exports are open already`);
    }
    const opening = this.source.open(name);
    const entry: Entry = { name, opening, device: null, users: 0, linger: null, ending: null };
    this.entries.set(name, entry);
    opening.then(
      (device) => {
        entry.device = device;
        // Who comes next finds it BUSY, instead of a device that only waits.
        device.onWanted = () => void this.endEntry(entry);
      },
      () => this.forget(entry),
    );
    return entry;
  }

  private allOf(name: string): Entry[] {
    const entry = this.entries.get(name);
    const aside = [...this.aside].filter((one) => one.name === name);
    return entry === undefined ? aside : [entry, ...aside];
  }

  private takesNew(entry: Entry): boolean {
    return entry.ending === null && !this.aside.has(entry);
  }

  private async isStill(name: string, device: BlockDevice): Promise<boolean> {
    return (await this.source.isStill?.(name, device)) ?? true;
  }

  /**
   * A snapshot may have been renamed, and another taken under its name; and what was fenced serves no more. Who comes
   * now gets what the name means now; who is connected keeps what he has.
   */
  private async lookAfter(entry: Entry, device: BlockDevice): Promise<void> {
    if (!this.takesNew(entry) || (await this.isStill(entry.name, device))) return;
    if (!this.takesNew(entry)) return;
    if (entry.users === 1) return void this.endEntry(entry);
    this.entries.delete(entry.name);
    this.aside.add(entry);
  }

  private async endEntry(entry: Entry): Promise<void> {
    if (entry.ending === null) {
      entry.ending = deferred();
      entry.linger?.cancel();
      if (entry.users === 0) this.closeEntry(entry);
    }
    await entry.ending.promise;
  }

  private leave(entry: Entry): void {
    // Without a device it could not be opened, and is forgotten.
    if (--entry.users > 0 || entry.device === null) return;
    entry.device.rest?.(true);
    if (entry.ending !== null) this.closeEntry(entry);
    else if (this.aside.has(entry)) void this.endEntry(entry);
    else entry.linger = this.options.clock.after(this.options.lingerMs, () => void this.endEntry(entry));
  }

  private closeEntry(entry: Entry): void {
    entry.opening
      .then((device) => device.close())
      .catch((error) =>
        this.options.log.error({ err: error, export: entry.name }, 'export closed with an error'),
      )
      .then(() => this.forget(entry));
  }

  private forget(entry: Entry): void {
    if (this.entries.get(entry.name) === entry) this.entries.delete(entry.name);
    this.aside.delete(entry);
    entry.ending?.resolve();
  }

  private stats(name: string): ExportStats {
    let stats = this.statsOf.get(name);
    if (stats === undefined) {
      stats = new ExportStats();
      this.statsOf.set(name, stats);
      if (this.statsOf.size > STATS_KEPT) this.forgetOldest();
    }
    return stats;
  }

  private forgetOldest(): void {
    for (const name of this.statsOf.keys()) {
      if (this.entries.has(name)) continue;
      this.statsOf.delete(name);
      return;
    }
  }

  private factsOf(name: string, device: BlockDevice): ExportFacts {
    const { limits } = device;
    return {
      name,
      description: this.source.description?.(name),
      // A tail shorter than a block could not be addressed.
      sizeBytes: device.sizeBytes - (device.sizeBytes % limits.blockSizeMinBytes),
      readOnly: device.readOnly,
      multiConnection: device.multiConnection,
      blockSizeMinBytes: limits.blockSizeMinBytes,
      blockSizePreferredBytes: Math.max(limits.blockSizePreferredBytes, limits.blockSizeMinBytes, 512),
      marks: device.layers === undefined ? null : (device.marks?.() ?? []),
    };
  }
}

function deferred(): { promise: Promise<void>; resolve: () => void } {
  let resolve!: () => void;
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}
