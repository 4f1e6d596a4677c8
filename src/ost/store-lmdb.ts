import { open, type RootDatabase } from 'lmdb';
import { asRawstorError, RawstorError } from '../common/errors.js';
import { checkLmdb } from '../common/lmdb-check.js';
import { isDiskFull } from '../common/lmdb-full.js';
import { type Change, type DurableStore, RECORDS_REPAIR } from './store.js';

/**
 * Opens the records of an OST, after a child process has read them through (a damaged file would end this
 * process by a signal). @throws RawstorError BAD_DATA
 */
export async function openLmdbStore(directory: string, mayBeNew: boolean): Promise<DurableStore> {
  await checkLmdb(directory, mayBeNew, { repair: RECORDS_REPAIR });
  try {
    const db = open<Buffer, Buffer>({
      path: directory,
      encoding: 'binary',
      keyEncoding: 'binary',
      // Without it a resolved write is a durable one: fences and intents are answered on it.
      overlappingSync: false,
      // With it a failed commit also rejects a promise that nobody can handle.
      eventTurnBatching: false,
      cache: false,
      noMemInit: false,
    });
    return new LmdbStore(db, directory);
  } catch (cause) {
    throw new RawstorError('BAD_DATA', `the records cannot be opened: ${(cause as Error).message}`, {
      where: directory,
      cause,
    });
  }
}

interface Waiting {
  readonly changes: readonly Change[];
  readonly resolve: () => void;
  readonly reject: (error: RawstorError) => void;
}

/** Commits asked for while one runs share the next one, and its fate. */
class LmdbStore implements DurableStore {
  private readonly db: RootDatabase<Buffer, Buffer>;
  private readonly directory: string;
  private waiting: Waiting[] = [];
  private committing: Promise<void> | null = null;
  private closed = false;

  constructor(db: RootDatabase<Buffer, Buffer>, directory: string) {
    this.db = db;
    this.directory = directory;
  }

  get(key: Buffer): Buffer | undefined {
    this.checkOpen();
    return this.db.get(key);
  }

  range(start: Buffer, end: Buffer, limit: number): { key: Buffer; value: Buffer }[] {
    this.checkOpen();
    const pairs: { key: Buffer; value: Buffer }[] = [];
    for (const { key, value } of this.db.getRange({ start, end, limit })) pairs.push({ key, value });
    return pairs;
  }

  async commit(changes: readonly Change[]): Promise<void> {
    this.checkOpen();
    return new Promise((resolve, reject) => {
      this.waiting.push({ changes, resolve, reject });
      this.committing ??= this.commitAll();
    });
  }

  async close(): Promise<void> {
    while (this.committing !== null) await this.committing;
    this.closed = true;
    try {
      await this.db.close();
    } catch (error) {
      throw asRawstorError(error, this.directory);
    }
  }

  /** lmdb-js throws where nobody can catch it when it is asked while it closes. @throws RawstorError UNAVAILABLE */
  private checkOpen(): void {
    if (this.closed)
      throw new RawstorError('UNAVAILABLE', 'the records are closed', { where: this.directory });
  }

  private async commitAll(): Promise<void> {
    // What is asked for in one turn goes together.
    await Promise.resolve();
    while (this.waiting.length > 0) {
      const group = this.waiting;
      this.waiting = [];
      try {
        await this.db.batch(() => {
          for (const { changes } of group) for (const change of changes) this.put(change);
        });
        for (const { resolve } of group) resolve();
      } catch (cause) {
        const failure = await this.failure(cause);
        for (const { reject } of group) reject(failure);
      }
    }
    // In the turn that saw nothing waiting: who asks next starts anew.
    this.committing = null;
  }

  private put({ key, value }: Change): void {
    if (value === null) this.db.remove(key);
    else this.db.put(key, value);
  }

  /** lmdb-js keeps the reason in a promise of its own on the error. */
  private async failure(cause: unknown): Promise<RawstorError> {
    const inner = await Promise.resolve((cause as { commitError?: unknown }).commitError).catch((e) => e);
    const reason = inner instanceof Error ? inner : cause;
    const text = reason instanceof Error ? reason.message : String(reason);
    const full = isDiskFull(text, this.directory);
    return new RawstorError(full ? 'NO_SPACE' : 'IO', `the records were not written: ${text}`, {
      where: this.directory,
      cause,
      hint: full ? 'free some space on the disk of this OST' : "see the kernel's log about this disk",
    });
  }
}
