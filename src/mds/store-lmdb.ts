import { open, type RootDatabase } from 'lmdb';
import { asRawstorError, RawstorError } from '../common/errors.js';
import { isDiskFull } from '../common/lmdb-full.js';
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

/** Transactions that share one commit at most. */
const GROUP = 256;

interface Waiting {
  readonly transaction: StoreTransaction;
  readonly resolve: (outcome: StoreOutcome) => void;
  readonly reject: (error: RawstorError) => void;
}

/**
 * The embedded store, for one process at a time. A value is stored as its version (u64, little endian) and its
 * bytes. Transactions that come while a commit runs share the next one. Commits are not overlapped with their
 * sync: what is answered, and what a reader sees, is on disk.
 */
export class LmdbStore implements MetadataStore {
  private readonly database: RootDatabase<Buffer, string>;
  private readonly path: string;
  private readonly watchers = new Watchers();
  private waiting: Waiting[] = [];
  private committing: Promise<void> | null = null;
  private lastVersion: number;
  private closed = false;

  /** Opens or creates the environment in a directory. @throws RawstorError when it cannot be read */
  constructor(path: string) {
    this.path = path;
    try {
      this.database = open<Buffer, string>({
        path,
        encoding: 'binary',
        overlappingSync: false,
        // With it a failed commit also rejects a promise that nobody can handle.
        eventTurnBatching: false,
      });
      this.lastVersion = Number(this.database.get(REVISION_KEY)?.readBigUInt64LE(0) ?? 0);
    } catch (error) {
      throw asRawstorError(error, path);
    }
  }

  async get(key: string): Promise<StoreEntry | null> {
    this.checkOpen();
    const stored = this.database.get(KEY_PREFIX + key);
    return stored === undefined ? null : this.entry(key, stored);
  }

  async range(range: StoreRange): Promise<StoreEntry[]> {
    this.checkOpen();
    const found: StoreEntry[] = [];
    const options = { start: KEY_PREFIX + range.from, end: KEY_PREFIX + range.to, snapshot: true };
    const limited = range.limit === undefined ? options : { ...options, limit: range.limit };
    const { enoughBytes = Number.POSITIVE_INFINITY } = range;
    let bytes = 0;
    for (const { key, value } of this.database.getRange(limited)) {
      const entry = this.entry(key.slice(KEY_PREFIX.length), value);
      found.push(entry);
      bytes += entry.value.length;
      if (bytes > enoughBytes) break;
    }
    return found;
  }

  async transact(transaction: StoreTransaction): Promise<StoreOutcome> {
    checkTransaction(transaction);
    this.checkOpen();
    const outcome = new Promise<StoreOutcome>((resolve, reject) => {
      this.waiting.push({ transaction, resolve, reject });
    });
    this.committing ??= this.commitAll();
    return outcome;
  }

  watch(prefix: string, listener: (events: readonly StoreEvent[]) => void): StoreWatch {
    return this.watchers.add(prefix, listener);
  }

  async close(): Promise<void> {
    while (this.committing !== null) await this.committing;
    this.closed = true;
    await this.database.close();
  }

  /** lmdb-js throws where nobody can catch it when it is asked while it closes. @throws RawstorError UNAVAILABLE */
  private checkOpen(): void {
    if (this.closed) throw new RawstorError('UNAVAILABLE', 'the metadata is closed', { where: this.path });
  }

  private async commitAll(): Promise<void> {
    // Transactions asked for in one turn are together.
    await Promise.resolve();
    while (this.waiting.length > 0) {
      const group = this.waiting.splice(0, GROUP);
      try {
        const outcomes = await this.commit(group.map((one) => one.transaction));
        for (const [i, { transaction, resolve }] of group.entries()) {
          const outcome = outcomes[i]!;
          if (outcome.committed) this.watchers.tell(transaction, outcome.version);
          resolve(outcome);
        }
      } catch (error) {
        const failure = await this.commitFailure(error);
        for (const { reject } of group) reject(failure);
      }
    }
    // In the turn that saw nothing waiting: who asks next starts anew.
    this.committing = null;
  }

  /** One commit for all whose checks hold, each after the ones before it in the group. */
  private async commit(group: readonly StoreTransaction[]): Promise<StoreOutcome[]> {
    /** What the group changes; null: deleted. */
    const changes = new Map<string, { value: Uint8Array; version: number } | null>();
    const versionOf = (key: string): number => {
      const change = changes.get(key);
      if (change !== undefined) return change?.version ?? 0;
      const stored = this.database.get(KEY_PREFIX + key);
      return stored === undefined ? 0 : this.entry(key, stored).version;
    };
    const outcomes = group.map(({ checks, puts = [], deletes = [] }): StoreOutcome => {
      const failed = checks.find(({ key, version }) => versionOf(key) !== version);
      if (failed !== undefined) return { committed: false, key: failed.key };
      const version = ++this.lastVersion;
      for (const { key, value } of puts) changes.set(key, { value, version });
      for (const key of deletes) changes.set(key, null);
      return { committed: true, version };
    });
    if (outcomes.some((outcome) => outcome.committed)) {
      await this.database.batch(() => this.write(changes));
    }
    return outcomes;
  }

  private write(changes: ReadonlyMap<string, { value: Uint8Array; version: number } | null>): void {
    for (const [key, change] of changes) {
      if (change === null) this.database.remove(KEY_PREFIX + key);
      else this.database.put(KEY_PREFIX + key, Buffer.concat([u64(change.version), change.value]));
    }
    this.database.put(REVISION_KEY, u64(this.lastVersion));
  }

  /** lmdb-js gives the reason in a promise of its own on the error. */
  private async commitFailure(error: unknown): Promise<RawstorError> {
    if (error instanceof RawstorError) return error;
    const reason = await Promise.resolve((error as { commitError?: unknown }).commitError).catch((r) => r);
    const cause = reason instanceof Error ? reason : error;
    const text = cause instanceof Error ? cause.message : String(cause);
    const full = isDiskFull(text, this.path);
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

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(VERSION_BYTES);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}
