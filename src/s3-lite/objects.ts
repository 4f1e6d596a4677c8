import { randomUUID } from 'node:crypto';
import { exchanged, type ImmutableStore, type Row, stillGone } from '../client/index.js';
import type { Clock } from '../common/clock.js';
import { systemRandom } from '../common/random.js';
import { type Buckets, storesAlike } from './buckets.js';
import { S3Error } from './errors.js';
import { ROW } from './names.js';
import type { BucketRow, ObjectRow } from './rows.js';
import { Turns } from './turns.js';

/** Others may change a key through other gateways. */
const TRIES = 20;
const PAUSE_MS = 200;
const DAY_MS = 86_400_000;

/** Content on the OSTs and what is said of it; the rest of its row comes with the put. */
export type NewContent = Omit<ObjectRow, 'id' | 'modifiedMs' | 'retainUntilMs'>;

/** What must be true of what is under the key now, null for nothing. @throws S3Error */
export type Condition = (before: ObjectRow | null) => void;

export interface PutOptions {
  readonly condition?: Condition | undefined;
  /** The bucket as it was when the content was written for it. */
  readonly writtenFor?: BucketRow;
  /** Rows that go with the same transaction. */
  readonly alsoDelete?: readonly string[];
  readonly alsoCheck?: readonly { readonly key: string; readonly version: number }[];
}

/** Objects in the catalog: which content is under a key. */
export class Objects {
  private readonly store: ImmutableStore;
  private readonly buckets: Buckets;
  private readonly clock: Clock;
  private readonly turns: Turns;

  constructor(store: ImmutableStore, buckets: Buckets, clock: Clock) {
    this.store = store;
    this.buckets = buckets;
    this.clock = clock;
    this.turns = new Turns(clock);
  }

  async find(bucket: string, key: string): Promise<Row<ObjectRow> | null> {
    return this.store.catalog.get<ObjectRow>(ROW.key(bucket, key));
  }

  /** @throws S3Error NoSuchKey */
  async get(bucket: string, key: string): Promise<ObjectRow> {
    const row = await this.find(bucket, key);
    if (row !== null) return row.value;
    throw noSuchKey(key);
  }

  /**
   * Puts content that is on the OSTs under a key, and drops what was there.
   * @throws S3Error NoSuchBucket, SlowDown when the bucket takes other content by now, AccessDenied while what is there is retained, what the condition throws
   */
  async put(bucket: string, key: string, content: NewContent, options: PutOptions = {}): Promise<ObjectRow> {
    const rowKey = ROW.key(bucket, key);
    const id = randomUUID();
    const { condition, writtenFor, alsoDelete = [], alsoCheck = [] } = options;
    return this.tried(rowKey, condition, async () => {
      const [owner, before] = await Promise.all([this.buckets.get(bucket), this.find(bucket, key)]);
      if (writtenFor !== undefined && !storesAlike(writtenFor, owner.value)) {
        throw new S3Error('SlowDown', 'The bucket was changed meanwhile. Try again.');
      }
      condition?.(before?.value ?? null);
      this.checkRetention(before?.value ?? null);
      const modifiedMs = this.clock.wallMs();
      const next = { ...content, id, modifiedMs, retainUntilMs: retainUntil(owner.value, modifiedMs) };
      const refs = exchanged(rowKey, before?.value ?? null, next);
      const failed = await this.store.catalog.transact({
        checks: [
          { key: owner.key, version: owner.version },
          { key: rowKey, version: before?.version ?? 0 },
          ...alsoCheck,
        ],
        puts: [{ key: rowKey, value: next }, ...refs.puts],
        deletes: [...refs.deletes, ...alsoDelete],
        relies: [owner],
      });
      if (failed === null) {
        this.dropped(before?.value ?? null);
        return next;
      }
      if (alsoCheck.some((check) => check.key === failed)) {
        throw new S3Error('NoSuchUpload', 'The specified upload does not exist.');
      }
      return undefined;
    });
  }

  /** Changes what is said of the content. @param deletes rows that go with it. @throws S3Error NoSuchKey */
  async change(
    bucket: string,
    key: string,
    change: (row: ObjectRow) => ObjectRow,
    deletes: readonly string[] = [],
  ): Promise<ObjectRow> {
    return this.tried(ROW.key(bucket, key), undefined, async () => {
      const row = await this.find(bucket, key);
      if (row === null) throw noSuchKey(key);
      const value = change(row.value);
      const checks = [{ key: row.key, version: row.version }];
      const puts = [{ key: row.key, value }];
      const failed = await this.store.catalog.transact({ checks, puts, deletes });
      return failed === null ? value : undefined;
    });
  }

  /** A key that is not there is no error. @throws S3Error AccessDenied while it is retained */
  async remove(bucket: string, key: string, condition?: Condition): Promise<void> {
    await this.tried(ROW.key(bucket, key), condition, async () => {
      const row = await this.find(bucket, key);
      condition?.(row?.value ?? null);
      if (row === null) {
        // It may be gone by a request that got no answer, and that no journal has.
        const failed = await this.store.catalog.transact(stillGone(ROW.key(bucket, key)));
        return failed === null ? true : undefined;
      }
      this.checkRetention(row.value);
      const failed = await this.store.catalog.transact({
        checks: [{ key: row.key, version: row.version }],
        deletes: [row.key, ...exchanged(row.key, row.value, null).deletes],
      });
      if (failed === null) this.dropped(row.value);
      return failed === null ? true : undefined;
    });
  }

  /**
   * What is judged by what is there, and is done if that is still so then. @param once undefined: it was not
   * @throws S3Error ConditionalRequestConflict, SlowDown when others change it all the time
   */
  private tried<T>(
    rowKey: string,
    condition: Condition | undefined,
    once: () => Promise<T | undefined>,
  ): Promise<T> {
    return this.turns.run(rowKey, async () => {
      for (let i = 0; i < TRIES; i++) {
        if (i > 0) await this.clock.sleep(systemRandom.next() * Math.min(PAUSE_MS, 5 * 2 ** i));
        const done = await once();
        if (done !== undefined) return done;
      }
      // Clients ask again by themselves after a SlowDown, not after a conflict: there the answer may be another.
      const code = condition === undefined ? 'SlowDown' : 'ConditionalRequestConflict';
      throw new S3Error(code, 'The key is being changed by others all the time.');
    });
  }

  private checkRetention(row: ObjectRow | null): void {
    if (row === null || row.retainUntilMs <= this.clock.wallMs()) return;
    throw new S3Error('AccessDenied', 'Access Denied because object protected by object lock.', {
      RetainUntilDate: new Date(row.retainUntilMs).toISOString(),
    });
  }

  private dropped(row: ObjectRow | null): void {
    if (row !== null) void this.store.collector.released(row.extents.map((one) => one.objectId));
  }
}

function retainUntil({ retentionDays }: BucketRow, nowMs: number): number {
  return retentionDays === 0 ? 0 : nowMs + retentionDays * DAY_MS;
}

function noSuchKey(key: string): S3Error {
  return new S3Error('NoSuchKey', 'The specified key does not exist.', { Key: key });
}
