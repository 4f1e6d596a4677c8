import { RawstorError } from '../../common/errors.js';
import { CATALOG_LIMITS, type CatalogEntry } from '../../protocol/catalog-messages.js';
import { decodeBody, encodeBody } from '../../protocol/control.js';
import type { ControlLink } from '../control-link.js';
import type { JournalRecord } from './journal/frames.js';
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
export type KeepChange = (record: JournalRecord) => Promise<void>;

/** Rows that facades keep at the MDS, in the order of their keys' bytes; values are what msgpack carries. */
export class CatalogClient {
  private readonly mds: Pick<ControlLink, 'call'>;
  private readonly keep: KeepChange;

  constructor(mds: Pick<ControlLink, 'call'>, keep: KeepChange) {
    this.mds = mds;
    this.keep = keep;
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
   * @throws RawstorError NOT_FOUND, LIMIT; after others it may be done or not
   */
  async transact(change: CatalogChange): Promise<string | null> {
    const { failed, record } = await this.commit(change);
    if (failed !== null) return failed;
    if (record.puts.length > 0 || record.deletes.length > 0) await this.keep(record);
    return null;
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
