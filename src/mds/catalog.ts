import type { Clock } from '../common/clock.js';
import { RawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import { CATALOG_LIMITS, type CatalogEntry, type Params, type Result } from '../protocol/index.js';
import { CatalogRecovery } from './catalog-recovery.js';
import { CATALOG_PREFIX, DUMPED_PREFIX, dumpedRow } from './catalog-rows.js';
import type { Objects } from './objects.js';
import type { Serial } from './serial.js';
import { type MetadataStore, prefixRange, type StoreEntry } from './store.js';
import type { StoredObject } from './stored-object.js';

const REF_PREFIX = 'ref/';

export interface CatalogParts {
  readonly store: MetadataStore;
  readonly objects: Objects;
  readonly serial: Serial;
  readonly clock: Clock;
}

/** What facades keep at the MDS, and the references by which it keeps objects: docs/formats-mds.md. */
export class Catalog {
  readonly recovery: CatalogRecovery;
  private readonly parts: CatalogParts;

  constructor(parts: CatalogParts) {
    this.parts = parts;
    this.recovery = new CatalogRecovery(parts.store, parts.clock);
  }

  async get({ keys }: Params<'mds.catalogGet'>): Promise<Result<'mds.catalogGet'>> {
    this.recovery.checkServed();
    const found = await Promise.all(keys.map((key) => this.parts.store.get(CATALOG_PREFIX + key)));
    const entries = found.flatMap((entry) => (entry === null ? [] : [this.told(entry)]));
    if (entries.reduce((sum, one) => sum + one.value.length + one.key.length, 0) > LIMITS.answerBytes) {
      throw new RawstorError('LIMIT', 'these entries do not fit one message', { hint: 'ask for fewer' });
    }
    return { entries };
  }

  async range(params: Params<'mds.catalogRange'>): Promise<Result<'mds.catalogRange'>> {
    const { from, to, limit, dumped = false } = params;
    if (!dumped) this.recovery.checkServed();
    const prefix = dumped ? DUMPED_PREFIX : CATALOG_PREFIX;
    const range = { from: prefix + from, to: prefix + to, limit: limit + 1, enoughBytes: LIMITS.answerBytes };
    const found = await this.parts.store.range(range);
    const entries: CatalogEntry[] = [];
    let bytes = 0;
    for (const entry of found.slice(0, limit)) {
      const one = dumped ? dumpedRow(entry) : this.told(entry);
      bytes += one.key.length + one.value.length + 32;
      if (bytes > LIMITS.answerBytes && entries.length > 0) break;
      entries.push(one);
    }
    return { entries, more: entries.length < found.length };
  }

  /** @throws RawstorError NOT_FOUND, LIMIT, INVALID */
  async transact(params: Params<'mds.catalogTransact'>): Promise<Result<'mds.catalogTransact'>> {
    const { checks, puts, deletes } = params;
    const { recovery } = this;
    recovery.checkServed();
    const large = puts.find((put) => put.value.length > CATALOG_LIMITS.valueBytes);
    if (large !== undefined) throw new RawstorError('LIMIT', 'the entry is too large', { where: large.key });
    const wanted = new Map<string, Set<number>>();
    for (const { key } of puts) {
      if (!key.startsWith(REF_PREFIX)) continue;
      const [, id = '', version = ''] = key.split('/');
      wanted.set(id, (wanted.get(id) ?? new Set()).add(Number(version)));
    }
    const commit = async (): Promise<Result<'mds.catalogTransact'>> => {
      for (const [id, versions] of wanted)
        checkVersions((await this.parts.objects.load(id)).stored, versions);
      const outcome = await this.parts.store.transact({
        checks: checks.map(({ key, version }) => ({
          key: CATALOG_PREFIX + key,
          version: recovery.versionOf(version),
        })),
        puts: puts.map(({ key, value }) => ({ key: CATALOG_PREFIX + key, value })),
        deletes: deletes.map((key) => CATALOG_PREFIX + key),
      });
      if (outcome.committed) return { failed: null, version: recovery.revisionOf(outcome.version) };
      return { failed: nameOf(outcome.key), version: 0 };
    };
    // No object that is referred to is removed between the look and the commit; in one order, so that two never wait for each other.
    const ids = [...wanted.keys()].sort();
    const locked = ids.reduceRight<() => Promise<Result<'mds.catalogTransact'>>>(
      (next, id) => () => this.parts.serial.run(id, next),
      commit,
    );
    return locked();
  }

  private told({ key, value, version }: StoreEntry): CatalogEntry {
    return { key: nameOf(key), value, version: this.recovery.revisionOf(version) };
  }

  /** Within the object's turn. @throws RawstorError BUSY */
  async checkUnreferenced(id: string, name: string, version?: number): Promise<void> {
    const { state } = this.recovery;
    if (state !== 'whole') {
      const { stored } = await this.parts.objects.load(id);
      this.recovery.checkRemovable(name, stored.object.mode);
    }
    const prefix = `${CATALOG_PREFIX}${REF_PREFIX}${id}/${version === undefined ? '' : `${version}/`}`;
    const [found] = await this.parts.store.range({ ...prefixRange(prefix), limit: 1 });
    if (found === undefined) return;
    throw new RawstorError('BUSY', 'it is the data of objects that are there', {
      where: name,
      hint: 'remove what was published of it first, such as by `aws s3 rm`',
    });
  }
}

function nameOf(key: string): string {
  return key.slice(CATALOG_PREFIX.length);
}

/** @throws RawstorError NOT_FOUND */
function checkVersions({ object }: StoredObject, versions: ReadonlySet<number>): void {
  for (const version of versions) {
    const isHead = version === object.headVersion;
    if (isHead || object.snapshots.some((one) => one.version === version && one.name !== null)) continue;
    throw new RawstorError('NOT_FOUND', `there is no version ${version}`, { where: object.name });
  }
}
