import { asRawstorError, type ErrorCode, RawstorError } from '../../common/errors.js';
import { CATALOG_LIMITS, type CatalogEntry } from '../../protocol/catalog-messages.js';
import { decodeBody, encodeBody } from '../../protocol/control.js';
import type { ControlLink } from '../control-link.js';
import type { JournalRecord } from './journal/frames.js';
import type { Debt } from './journal/owed.js';
import { isJournalled } from './journal/rows.js';
import type { PlainRows } from './journal/types.js';

export interface Row<T = unknown> {
  readonly key: string;
  readonly value: T;
  /** For a check of a transaction. */
  readonly version: number;
}

export interface CatalogChange {
  readonly checks?: readonly { readonly key: string; readonly version: number }[];
  readonly puts?: readonly { readonly key: string; readonly value: unknown }[];
  readonly deletes?: readonly string[];
  /** Rows without which what is put here is not reached: somebody else may have put them, and no journal may have that. */
  readonly relies?: readonly Row[];
}

const CALL_TIMEOUT_MS = 15_000;

/** Says that a key is not there, so that a journal has that too: the one that had its deletion may be lost, or not be written yet. */
export const stillGone = (key: string): CatalogChange => ({
  checks: [{ key, version: 0 }],
  deletes: [key],
});

/** @param spareBytes for what is added to it before it is put */
export const fitsRow = (value: unknown, spareBytes: number): boolean =>
  encodeBody(value).length + spareBytes <= CATALOG_LIMITS.valueBytes;

/** Keeps changes where the loss of the MDS does not lose them. */
export interface ChangeKeeper {
  /** Before one is committed. @param room for deletes. @throws RawstorError UNAVAILABLE */
  owe(keys: readonly string[], room: number): Debt;
  keep(record: JournalRecord): Promise<void>;
}

/** With these nothing was committed. */
const REFUSED: ReadonlySet<ErrorCode> = new Set(['NOT_FOUND', 'LIMIT', 'INVALID']);
/** Rows relied on that are known to be in a journal. */
const RELIED = 10_000;

/** Rows that facades keep at the MDS, in the order of their keys' bytes; values are what msgpack carries. */
export class CatalogClient {
  private readonly mds: Pick<ControlLink, 'call'>;
  private readonly keeper: ChangeKeeper;
  /** Versions of rows that a journal has, by their keys. */
  private readonly relied = new Map<string, number>();

  constructor(mds: Pick<ControlLink, 'call'>, keeper: ChangeKeeper) {
    this.mds = mds;
    this.keeper = keeper;
  }

  async get<T>(key: string): Promise<Row<T> | null> {
    const { entries } = await this.mds.call('mds.catalogGet', { keys: [key] }, CALL_TIMEOUT_MS);
    const [entry] = entries;
    return entry === undefined ? null : rowOf<T>(entry);
  }

  /** One page. */
  async range<T>(from: string, to: string, limit: number): Promise<{ rows: Row<T>[]; more: boolean }> {
    const asked = { from, to, limit: Math.min(limit, CATALOG_LIMITS.entries) };
    const { entries, more } = await this.mds.call('mds.catalogRange', asked, CALL_TIMEOUT_MS);
    return { rows: entries.map((entry) => rowOf<T>(entry)), more };
  }

  /** All rows of a range, page after page. */
  async *all<T>(from: string, to: string): AsyncGenerator<Row<T>, undefined> {
    for (let start = from; ; ) {
      const { rows, more } = await this.range<T>(start, to, CATALOG_LIMITS.entries);
      yield* rows;
      const last = rows.at(-1);
      if (!more || last === undefined) return;
      start = `${last.key} `;
    }
  }

  /**
   * @returns the first key whose check did not hold, null when all is done, and kept on the OSTs too
   * @throws RawstorError NOT_FOUND, LIMIT; after others it may be done or not, and stays owed to a journal where it is
   */
  async transact(change: CatalogChange): Promise<string | null> {
    const { puts = [], deletes = [] } = change;
    const keys = [...puts.map(({ key }) => key), ...deletes].filter(isJournalled);
    if (keys.length === 0) return (await this.commit(change)).failed;
    const debt = this.keeper.owe(keys, CATALOG_LIMITS.operations - deletes.length);
    const owing = { ...change, puts: [...puts, debt.put], deletes: [...deletes, ...debt.deletes] };
    const { failed, record } = await this.commit(owing).catch((error) => {
      if (REFUSED.has(asRawstorError(error).code)) debt.none();
      else debt.failed();
      throw error;
    });
    if (failed !== null) {
      debt.none();
      return failed;
    }
    try {
      await this.keep(record, change.relies ?? []);
      debt.kept();
      return null;
    } catch (error) {
      debt.failed();
      throw error;
    }
  }

  private async keep(record: JournalRecord, relies: readonly Row[]): Promise<void> {
    const news = relies.filter(({ key, version }) => this.relied.get(key) !== version);
    const records = news.map(({ key, value, version }): JournalRecord => {
      return { revision: version, puts: [[key, encodeBody(value)]], deletes: [] };
    });
    await Promise.all([...records, record].map((one) => this.keeper.keep(one)));
    for (const { key, version } of news) {
      this.relied.delete(key);
      this.relied.set(key, version);
      const [oldest] = this.relied.keys();
      if (this.relied.size > RELIED) this.relied.delete(oldest!);
    }
  }

  private async commit({ checks = [], puts = [], deletes = [] }: CatalogChange) {
    const encoded = puts.map(({ key, value }) => ({ key, value: encodeBody(value) }));
    const large = encoded.find(({ value }) => value.length > CATALOG_LIMITS.valueBytes);
    if (large !== undefined) {
      throw new RawstorError('LIMIT', 'what is to be kept of it is too large', { where: large.key });
    }
    const change = { checks: [...checks], puts: encoded, deletes: [...deletes] };
    const { failed, version } = await this.mds.call('mds.catalogTransact', change, CALL_TIMEOUT_MS);
    const record: JournalRecord = {
      revision: version,
      puts: encoded.filter(({ key }) => isJournalled(key)).map(({ key, value }) => [key, value]),
      deletes: deletes.filter(isJournalled),
    };
    return { failed, record };
  }

  /** Rows that no journal is told of: those of the journals. */
  readonly plain: PlainRows = {
    put: async (puts, deletes) => {
      const { record } = await this.commit({ puts, deletes });
      return record.revision;
    },
    get: (key) => this.get(key),
    all: (from, to) => this.all(from, to),
  };

  /** Deletes rows, as many transactions as it takes. */
  async deleteAll(keys: readonly string[]): Promise<void> {
    for (let at = 0; at < keys.length; at += CATALOG_LIMITS.operations) {
      await this.transact({ deletes: keys.slice(at, at + CATALOG_LIMITS.operations) });
    }
  }
}

function rowOf<T>({ key, value, version }: CatalogEntry): Row<T> {
  return { key, value: decodeBody(value) as T, version };
}
