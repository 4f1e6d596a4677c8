import { open, type RootDatabase } from 'lmdb';
import { asRawstorError, RawstorError } from '../common/errors.js';
import type {
  MetadataStore,
  StoreEntry,
  StoreEvent,
  StoreOutcome,
  StoreRange,
  StoreTransaction,
  StoreWatch,
} from './store.js';
import { checkTransaction, Watchers } from './store-checks.js';

/** Before every key of the interface, so that the store's own counter cannot be read as one. */
const KEY_PREFIX = 'k:';
const REVISION_KEY = 'revision';
const VERSION_BYTES = 8;

/**
 * The embedded store. A value is stored as its version (u64, little endian) and its bytes. Commits are not
 * overlapped with their sync: what a reader sees is on disk already.
 */
export class LmdbStore implements MetadataStore {
  private readonly database: RootDatabase<Buffer, string>;
  private readonly path: string;
  private readonly watchers = new Watchers();

  /** Opens or creates the file. @throws RawstorError for a file that is not readable */
  constructor(path: string) {
    this.path = path;
    try {
      this.database = open<Buffer, string>({ path, encoding: 'binary', overlappingSync: false });
    } catch (error) {
      throw asRawstorError(error, path);
    }
  }

  async get(key: string): Promise<StoreEntry | null> {
    const stored = this.database.get(KEY_PREFIX + key);
    return stored === undefined ? null : this.entry(key, stored);
  }

  async range(range: StoreRange): Promise<StoreEntry[]> {
    const found: StoreEntry[] = [];
    const options = { start: KEY_PREFIX + range.from, end: KEY_PREFIX + range.to, snapshot: true };
    const limited = range.limit === undefined ? options : { ...options, limit: range.limit };
    for (const { key, value } of this.database.getRange(limited)) {
      found.push(this.entry(key.slice(KEY_PREFIX.length), value));
    }
    return found;
  }

  async transact(transaction: StoreTransaction): Promise<StoreOutcome> {
    checkTransaction(transaction);
    let outcome: StoreOutcome;
    try {
      // An exception would not undo what the callback has put, so all that may fail comes before the first put.
      outcome = await this.database.transaction(() => this.apply(transaction));
      await this.database.flushed;
    } catch (error) {
      throw await this.commitFailure(error);
    }
    if (outcome.committed) this.watchers.tell(transaction, outcome.version);
    return outcome;
  }

  watch(prefix: string, listener: (events: readonly StoreEvent[]) => void): StoreWatch {
    return this.watchers.add(prefix, listener);
  }

  async close(): Promise<void> {
    await this.database.close();
  }

  private apply(transaction: StoreTransaction): StoreOutcome {
    for (const { key, version } of transaction.checks) {
      const stored = this.database.get(KEY_PREFIX + key);
      if ((stored === undefined ? 0 : this.entry(key, stored).version) !== version) {
        return { committed: false, key };
      }
    }
    const counter = this.database.get(REVISION_KEY);
    const version = (counter === undefined ? 0 : Number(counter.readBigUInt64LE(0))) + 1;
    const head = Buffer.alloc(VERSION_BYTES);
    head.writeBigUInt64LE(BigInt(version));
    for (const { key, value } of transaction.puts ?? []) {
      handled(this.database.put(KEY_PREFIX + key, Buffer.concat([head, value])));
    }
    for (const key of transaction.deletes ?? []) handled(this.database.remove(KEY_PREFIX + key));
    handled(this.database.put(REVISION_KEY, head));
    return { committed: true, version };
  }

  /** lmdb-js gives the reason in a promise of its own on the error. */
  private async commitFailure(error: unknown): Promise<RawstorError> {
    const reason = await Promise.resolve((error as { commitError?: unknown }).commitError).catch((r) => r);
    const cause = reason instanceof Error ? reason : error;
    if (error instanceof RawstorError) return error;
    const text = cause instanceof Error ? cause.message : String(cause);
    const full = /no space|MDB_MAP_FULL|quota/i.test(text);
    return new RawstorError(full ? 'NO_SPACE' : 'IO', `the metadata was not written: ${text}`, {
      where: this.path,
      hint: full ? "free space on the MDS's disk" : "see the kernel's log about this disk",
      cause,
    });
  }

  private entry(key: string, stored: Buffer): StoreEntry {
    if (stored.length < VERSION_BYTES) {
      throw new RawstorError('BAD_DATA', `the record '${key}' is cut short`, { where: this.path });
    }
    return {
      key,
      value: stored.subarray(VERSION_BYTES),
      version: Number(stored.readBigUInt64LE(0)),
    };
  }
}

/** Each operation of a transaction has a promise that fails with it; the transaction's own says it already. */
function handled(promise: Promise<unknown>): void {
  promise.catch(() => {});
}
