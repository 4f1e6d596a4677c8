import type { Clock } from '../common/clock.js';
import { RawstorError } from '../common/errors.js';
import {
  CATALOG_LIMITS,
  type CatalogState,
  firstRevision,
  lifeOf,
  type Params,
  type Result,
} from '../protocol/index.js';
import {
  CATALOG_PREFIX,
  CATALOG_STATE_KEY,
  type CatalogRecord,
  catalogRecordSchema,
  DUMPED_PREFIX,
  NEW_CATALOG,
  putCatalogRecord,
} from './catalog-rows.js';
import { type MetadataStore, prefixRange } from './store.js';
import { decodeAs } from './stored-object.js';

/** A recovery that says nothing for so long has ended with its process. */
const SILENT_MS = 20_000;

/** Whether the MDS knows what its facades keep, and how it comes to know it again: docs/s3.md. */
export class CatalogRecovery {
  private readonly store: MetadataStore;
  private readonly clock: Clock;
  private record: CatalogRecord = NEW_CATALOG;
  private token = 0;
  private heardMs = Number.NEGATIVE_INFINITY;
  /** Begins and ends wait for what is being put. */
  private last: Promise<unknown> = Promise.resolve();

  constructor(store: MetadataStore, clock: Clock) {
    this.store = store;
    this.clock = clock;
  }

  /** @throws RawstorError BAD_DATA */
  async start(): Promise<void> {
    const entry = await this.store.get(CATALOG_STATE_KEY);
    if (entry !== null) this.record = decodeAs(catalogRecordSchema, entry.key, entry.value);
    if (this.state !== 'lost') await this.clear(DUMPED_PREFIX);
  }

  get state(): CatalogState {
    return this.record.state;
  }

  revisionOf(version: number): number {
    return firstRevision(this.record.life) + version;
  }

  /** Of the store, for a check: one of another life is no version of any row. */
  versionOf(revision: number): number {
    if (revision === 0) return 0;
    const version = revision - firstRevision(this.record.life);
    return version > 0 ? version : Number.MAX_SAFE_INTEGER;
  }

  /** @throws RawstorError UNAVAILABLE */
  checkServed(): void {
    if (this.state !== 'lost') return;
    throw new RawstorError('UNAVAILABLE', 'the catalog of buckets and keys is not recovered yet', {
      hint: 'a gateway does it by itself when it meets this; or `rawstor s3 catalog recover`',
    });
  }

  /** @throws RawstorError BUSY */
  checkRemovable(name: string, mode: 'mutable' | 'immutable'): void {
    if (this.state === 'whole' || (this.state === 'unconfirmed' && mode === 'mutable')) return;
    throw new RawstorError('BUSY', 'the MDS was made anew: it may be what a lost key named', {
      where: name,
      hint: 'look at `rawstor s3 catalog show`, then say that nothing is missing: `rawstor s3 catalog confirm`',
    });
  }

  async tell({ mark }: Params<'mds.catalogState'>): Promise<Result<'mds.catalogState'>> {
    let revision: number | null = null;
    if (mark) {
      const outcome = await this.store.transact({ checks: [] });
      revision = outcome.committed ? this.revisionOf(outcome.version) : null;
    }
    return { ...this.record, revision };
  }

  /** @throws RawstorError BUSY, CONFLICT */
  begin(): Promise<Result<'mds.catalogRecoverBegin'>> {
    return this.inTurn(async () => {
      this.checkLost();
      if (this.clock.nowMs() - this.heardMs < SILENT_MS) {
        throw new RawstorError('BUSY', 'the catalog is being recovered by somebody else');
      }
      this.heardMs = this.clock.nowMs();
      // Above those that an MDS before a restart gave.
      this.token = Math.max(this.token + 1, this.clock.wallMs());
      await this.clear(CATALOG_PREFIX);
      return { token: this.token };
    });
  }

  /** @throws RawstorError CONFLICT */
  put({ token, puts }: Params<'mds.catalogRecoverRows'>): Promise<Result<'mds.catalogRecoverRows'>> {
    return this.inTurn(async () => {
      this.checkToken(token);
      const rows = puts.map(({ key, value }) => ({ key: CATALOG_PREFIX + key, value }));
      // None: only that it is at work.
      if (rows.length > 0) await this.store.transact({ checks: [], puts: rows });
      return {};
    });
  }

  /** @throws RawstorError CONFLICT */
  abandon({ token }: Params<'mds.catalogRecoverAbandon'>): Promise<Result<'mds.catalogRecoverAbandon'>> {
    return this.inTurn(async () => {
      this.checkToken(token);
      this.token++;
      this.heardMs = Number.NEGATIVE_INFINITY;
      return {};
    });
  }

  /** @throws RawstorError CONFLICT */
  end({ token, above }: Params<'mds.catalogRecoverEnd'>): Promise<Result<'mds.catalogRecoverEnd'>> {
    return this.inTurn(async () => {
      this.checkToken(token);
      await this.change({ state: 'unconfirmed', life: lifeOf(above) + 1, dumpedRevision: null });
      this.heardMs = Number.NEGATIVE_INFINITY;
      await this.clear(DUMPED_PREFIX);
      return {};
    });
  }

  /** @throws RawstorError UNAVAILABLE while it is lost */
  confirm(): Promise<Result<'mds.catalogConfirm'>> {
    return this.inTurn(async () => {
      this.checkServed();
      if (this.state !== 'whole') await this.change({ ...this.record, state: 'whole' });
      return { state: this.state };
    });
  }

  private async change(record: CatalogRecord): Promise<void> {
    await this.store.transact({ checks: [], puts: [putCatalogRecord(record)] });
    this.record = record;
  }

  private checkLost(): void {
    if (this.state === 'lost') return;
    throw new RawstorError('CONFLICT', 'the catalog is not lost: there is nothing to recover');
  }

  private checkToken(token: number): void {
    this.checkLost();
    if (token !== this.token) throw new RawstorError('CONFLICT', 'another recovery has begun since');
    this.heardMs = this.clock.nowMs();
  }

  private async clear(prefix: string): Promise<void> {
    for (;;) {
      const found = await this.store.range({ ...prefixRange(prefix), limit: CATALOG_LIMITS.operations });
      if (found.length === 0) return;
      await this.store.transact({ checks: [], deletes: found.map(({ key }) => key) });
      this.heardMs = Math.max(this.heardMs, this.clock.nowMs());
    }
  }

  private inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.last.then(work, work);
    this.last = done.catch(() => {});
    return done;
  }
}
