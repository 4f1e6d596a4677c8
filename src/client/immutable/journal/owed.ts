import { randomBytes } from 'node:crypto';
import { RawstorError } from '../../../common/errors.js';
import { prefixEnd } from '../../../common/prefix-end.js';
import { CATALOG_LIMITS } from '../../../protocol/catalog-messages.js';
import { encodeBody } from '../../../protocol/control.js';
import type { Row } from '../catalog.js';
import type { JournalRecord } from './frames.js';
import { OWED_ROWS } from './rows.js';
import type { PlainRows } from './types.js';

/** Changes that were committed and that no journal took; with more, nothing is committed any more. */
const UNKEPT = 1000;
/** Rows of the MDS settled at a time. */
const BATCH = 50;

interface OwedRow {
  /** Rows that the change put or deleted. */
  readonly keys: readonly string[];
}

/** Of one change: how it ended is told once. */
export interface Debt {
  readonly put: { readonly key: string; readonly value: OwedRow };
  /** Rows of changes that journals have by now: they go with this one. */
  readonly deletes: readonly string[];
  /** Nothing was committed, as the MDS says. */
  none(): void;
  /** It is in a journal. */
  kept(): void;
  /** It may be committed, and may be in no journal. */
  failed(): void;
}

export interface OwedParts {
  readonly rows: PlainRows;
  keep(record: JournalRecord): Promise<void>;
}

/**
 * What stands at the MDS and may be in no journal: each change says so by a row of its own, until a journal has it. Without that, whoever
 * removes what such a change left without a reference would remove what comes back with the loss of the MDS.
 */
export class Owed {
  private readonly parts: OwedParts;
  private readonly prefix = `${OWED_ROWS}${randomBytes(8).toString('hex')}/`;
  private count = 0;
  /** Of this process; whether a journal has it in the end. */
  private readonly underWay = new Map<string, Promise<boolean>>();
  /** In a journal, with a row at the MDS that says otherwise. */
  private readonly done = new Set<string>();
  private readonly unkept = new Set<string>();
  private waiting: Promise<void> | null = null;
  private last: Promise<void> = Promise.resolve();

  constructor(parts: OwedParts) {
    this.parts = parts;
  }

  /** Whether changes of this process wait for `settle`. */
  get hasUnkept(): boolean {
    return this.unkept.size > 0;
  }

  /** Before a change is committed. @param room for deletes in the same transaction. @throws RawstorError UNAVAILABLE */
  begin(keys: readonly string[], room: number): Debt {
    if (this.unkept.size >= UNKEPT) {
      throw new RawstorError('UNAVAILABLE', 'changes of the catalog wait for a journal', {
        hint: 'journals cannot be written: see whether OSTs are there, and have room',
      });
    }
    const key = `${this.prefix}${String(++this.count).padStart(12, '0')}`;
    const deletes = [...this.done].slice(0, Math.max(0, room));
    for (const one of deletes) this.done.delete(one);
    let ended = (_kept: boolean) => {};
    this.underWay.set(
      key,
      new Promise((resolve) => {
        ended = resolve;
      }),
    );
    const end = (kept: boolean) => {
      this.underWay.delete(key);
      ended(kept);
    };
    const giveBack = () => {
      for (const one of deletes) this.done.add(one);
    };
    return {
      put: { key, value: { keys } },
      deletes,
      none: () => {
        giveBack();
        // Where there is a row of it nevertheless, it was.
        end(false);
      },
      kept: () => {
        this.done.add(key);
        end(true);
      },
      failed: () => {
        giveBack();
        this.unkept.add(key);
        end(false);
      },
    };
  }

  /** All that was committed before this call, by whomever, is in a journal after it. @throws RawstorError when it is not */
  settle(): Promise<void> {
    // One that runs may have looked before.
    if (this.waiting !== null) return this.waiting;
    const begun = this.last.then(() => {
      this.waiting = null;
      return this.settleNow();
    });
    this.waiting = begun;
    this.last = begun.catch(() => {});
    return begun;
  }

  /** Of a process that ends: what journals have is not left for others to look at. */
  async close(): Promise<void> {
    await this.last;
    const keys = [...this.done];
    for (let at = 0; at < keys.length; at += CATALOG_LIMITS.operations) {
      await this.parts.rows.put([], keys.slice(at, at + CATALOG_LIMITS.operations));
    }
  }

  private async settleNow(): Promise<void> {
    const before = [...this.unkept];
    let batch: Row<OwedRow>[] = [];
    for await (const row of this.parts.rows.all<OwedRow>(OWED_ROWS, prefixEnd(OWED_ROWS))) {
      batch.push(row);
      if (batch.length < BATCH) continue;
      await this.settleRows(batch);
      batch = [];
    }
    await this.settleRows(batch);
    // Those without a row were not committed.
    for (const key of before) this.unkept.delete(key);
  }

  private async settleRows(batch: readonly Row<OwedRow>[]): Promise<void> {
    const over: string[] = [];
    for (const row of batch) {
      const { key } = row;
      const kept = (await this.underWay.get(key)) ?? false;
      if (!kept && !this.done.has(key)) {
        const records = await this.recordsOf(row);
        await Promise.all(records.map((record) => this.parts.keep(record)));
      }
      over.push(key);
    }
    if (over.length === 0) return;
    await this.parts.rows.put([], over);
    for (const key of over) this.done.delete(key);
  }

  /** What the rows of a change are now: as it left them, or as a later one did, which owes that too or has it in a journal. */
  private async recordsOf({ value, version }: Row<OwedRow>): Promise<JournalRecord[]> {
    const records: JournalRecord[] = [];
    for (const key of value.keys) {
      const now = await this.parts.rows.get(key);
      if (now === null) records.push({ revision: version, puts: [], deletes: [key] });
      else records.push({ revision: now.version, puts: [[key, encodeBody(now.value)]], deletes: [] });
    }
    return records;
  }
}
