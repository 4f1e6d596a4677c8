import { open, type RootDatabase } from 'lmdb';
import { asRawstorError, RawstorError } from '../common/errors.js';
import { checkLmdb } from '../common/lmdb-check.js';
import type { Change, DurableStore } from './store.js';

/**
 * Opens the records of an OST, after a child process has read them through (a damaged file would end this
 * process by a signal). @throws RawstorError BAD_DATA
 */
export async function openLmdbStore(directory: string, mayBeNew: boolean): Promise<DurableStore> {
  await checkLmdb(directory, mayBeNew, {
    repair:
      "move this OST's directory away, start it on an empty one and let its volumes resync; " +
      'the data files under chunks/ stay readable',
  });
  try {
    // Without overlapping sync a resolved write is a durable one: fences and intents are answered on it.
    const db = open<Buffer, Buffer>({
      path: directory,
      encoding: 'binary',
      keyEncoding: 'binary',
      overlappingSync: false,
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

class LmdbStore implements DurableStore {
  private readonly db: RootDatabase<Buffer, Buffer>;
  private readonly directory: string;

  constructor(db: RootDatabase<Buffer, Buffer>, directory: string) {
    this.db = db;
    this.directory = directory;
  }

  get(key: Buffer): Buffer | undefined {
    return this.db.get(key);
  }

  range(start: Buffer, end: Buffer, limit: number): { key: Buffer; value: Buffer }[] {
    const pairs: { key: Buffer; value: Buffer }[] = [];
    for (const { key, value } of this.db.getRange({ start, end, limit })) pairs.push({ key, value });
    return pairs;
  }

  async commit(changes: readonly Change[]): Promise<void> {
    try {
      await this.db.batch(() => {
        for (const { key, value } of changes) {
          if (value === null) this.db.remove(key);
          else this.db.put(key, value);
        }
      });
    } catch (cause) {
      // lmdb-js keeps the reason in a promise of its own on the error.
      const reason = await deepReason(cause);
      const full = /no space|ENOSPC|MDB_MAP_FULL/i.test(reason.message);
      throw new RawstorError(full ? 'NO_SPACE' : 'IO', `the records were not written: ${reason.message}`, {
        where: this.directory,
        cause,
        ...(full ? { hint: 'free some space on the disk of this OST' } : {}),
      });
    }
  }

  async close(): Promise<void> {
    try {
      await this.db.close();
    } catch (error) {
      throw asRawstorError(error, this.directory);
    }
  }
}

async function deepReason(error: unknown): Promise<Error> {
  const inner = (error as { commitError?: Promise<unknown> | Error })?.commitError;
  if (inner instanceof Error) return inner;
  if (inner !== undefined) {
    try {
      await inner;
    } catch (reason) {
      if (reason instanceof Error) return reason;
    }
  }
  return error instanceof Error ? error : new Error(String(error));
}
