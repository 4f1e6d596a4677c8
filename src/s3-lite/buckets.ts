import { type CatalogClient, type Row, stillGone } from '../client/index.js';
import { prefixEnd } from '../common/prefix-end.js';
import { noSuchBucket, S3Error } from './errors.js';
import { checkBucketName, ROW } from './names.js';
import type { BucketRow } from './rows.js';

const TRIES = 8;

/** Buckets in the catalog. Whoever puts something into one checks its row's version by the same transaction. */
export class Buckets {
  private readonly catalog: CatalogClient;
  /** Marked when the last sweep looked. */
  private removing = new Map<string, { version: number; sinceMs: number }>();

  constructor(catalog: CatalogClient) {
    this.catalog = catalog;
  }

  /** @throws S3Error NoSuchBucket */
  async get(name: string): Promise<Row<BucketRow>> {
    const row = /^[\x21-\x7e]{1,255}$/.test(name)
      ? await this.catalog.get<BucketRow>(ROW.bucket(name))
      : null;
    if (row !== null && !row.value.removing) return row;
    throw noSuchBucket(name);
  }

  async list(): Promise<BucketRow[]> {
    const found: BucketRow[] = [];
    const all = this.catalog.all<BucketRow>(ROW.buckets, prefixEnd(ROW.buckets));
    for await (const { value } of all) if (!value.removing) found.push(value);
    return found;
  }

  /** @throws S3Error InvalidBucketName, BucketAlreadyOwnedByYou */
  async create(name: string, owner: string, nowMs: number): Promise<void> {
    checkBucketName(name);
    const key = ROW.bucket(name);
    const row: BucketRow = {
      name,
      createdMs: nowMs,
      owner,
      image: false,
      retentionDays: 0,
      cors: null,
      tags: null,
      removing: false,
    };
    const before = await this.catalog.get<BucketRow>(key);
    // A removal that was cut short: it is ended, or taken back where something is inside.
    if (before?.value.removing === true && (await this.settle(before)) !== null) {
      return this.create(name, owner, nowMs);
    }
    const failed = await this.catalog.transact({
      checks: [{ key, version: 0 }],
      puts: [{ key, value: row }],
    });
    if (failed === null) return;
    // It may be there by a request that got no answer, and that no journal has: whoever is told has to find it there for good.
    await this.change(name, (now) => now).catch((error) => {
      if (!(error instanceof S3Error && error.code === 'NoSuchBucket')) throw error;
    });
    throw new S3Error('BucketAlreadyOwnedByYou', 'The bucket exists already.', { BucketName: name });
  }

  /** @param expected whom a request takes for the owner; undefined: it does not say. @throws S3Error NoSuchBucket, AccessDenied */
  async checkOwner(name: string, expected: string | undefined): Promise<void> {
    if (expected === undefined || (await this.get(name)).value.owner === expected) return;
    throw new S3Error('AccessDenied', 'Access Denied: the bucket has another owner than expected.', {
      BucketName: name,
    });
  }

  /** @throws S3Error NoSuchBucket, SlowDown */
  async change(name: string, change: (row: BucketRow) => BucketRow): Promise<void> {
    for (let i = 0; i < TRIES; i++) {
      const { key, value, version } = await this.get(name);
      const puts = [{ key, value: change(value) }];
      if ((await this.catalog.transact({ checks: [{ key, version }], puts })) === null) return;
    }
    throw new S3Error('SlowDown', 'The bucket is being changed by others all the time.');
  }

  /**
   * One that is full is refused before anybody notices. An empty one is marked first, then looked at again: what is being put
   * meanwhile fails its check of the row. @throws S3Error NoSuchBucket, BucketNotEmpty, SlowDown
   */
  async remove(name: string): Promise<void> {
    const found = /^[\x21-\x7e]{1,255}$/.test(name)
      ? await this.catalog.get<BucketRow>(ROW.bucket(name))
      : null;
    if (found === null) await this.get(name);
    // Marked by one that was cut short: this one goes on.
    if (found?.value.removing !== true) {
      if (await this.isUsed(name)) throw notEmpty(name);
      await this.change(name, (row) => ({ ...row, removing: true }));
    }
    for (let i = 0; i < TRIES; i++) {
      const row = await this.catalog.get<BucketRow>(ROW.bucket(name));
      // By somebody else, whose change may be in no journal yet.
      if (row === null) return void (await this.catalog.transact(stillGone(ROW.bucket(name))));
      if (!row.value.removing) throw notEmpty(name);
      const settled = await this.settle(row);
      if (settled === 'unmarked') throw notEmpty(name);
      if (settled === 'removed') return;
    }
    throw new S3Error('SlowDown', 'The bucket is being changed by others all the time.');
  }

  /** Ends removals that were cut short, so that what is inside such a bucket is seen again. @returns how many */
  async sweep(nowMs: number, oldMs: number): Promise<number> {
    let settled = 0;
    const seen = new Map<string, { version: number; sinceMs: number }>();
    const all = this.catalog.all<BucketRow>(ROW.buckets, prefixEnd(ROW.buckets));
    for await (const row of all) {
      if (!row.value.removing) continue;
      const known = this.removing.get(row.key);
      const sinceMs = known?.version === row.version ? known.sinceMs : nowMs;
      seen.set(row.key, { version: row.version, sinceMs });
      // A removal under way takes moments.
      if (nowMs - sinceMs >= oldMs && (await this.settle(row)) !== null) settled++;
    }
    this.removing = seen;
    return settled;
  }

  /** Removes a marked bucket that is empty, and unmarks one that is not. @returns null when somebody else was faster */
  private async settle({ key, value, version }: Row<BucketRow>): Promise<'removed' | 'unmarked' | null> {
    const used = await this.isUsed(value.name);
    const change = used ? { puts: [{ key, value: { ...value, removing: false } }] } : { deletes: [key] };
    const failed = await this.catalog.transact({ checks: [{ key, version }], ...change });
    return failed !== null ? null : used ? 'unmarked' : 'removed';
  }

  private async isUsed(name: string): Promise<boolean> {
    for (const prefix of [ROW.keys(name), ROW.uploads(name)]) {
      const { rows } = await this.catalog.range(prefix, prefixEnd(prefix), 1);
      if (rows.length > 0) return true;
    }
    return false;
  }
}

/** Whether what was stored for the one is what the other takes: it is the same bucket, and encrypted like that. */
export function storesAlike(one: BucketRow, other: BucketRow): boolean {
  return one.createdMs === other.createdMs && (one.encryption == null) === (other.encryption == null);
}

function notEmpty(name: string): S3Error {
  return new S3Error('BucketNotEmpty', 'The bucket you tried to delete is not empty', { BucketName: name });
}
