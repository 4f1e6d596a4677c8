import type { JournalRecord } from './frames.js';

/** The latest that journals say of a key; null: it was deleted. */
export interface Latest {
  readonly revision: number;
  readonly value: Uint8Array | null;
}

/** What journals say, in whatever order they are read. Pure. */
export class Merged {
  /** The highest revision seen. */
  highest = 0;
  readonly latest = new Map<string, Latest>();
  private readonly from: number;

  /** @param from all below is in what these changes are to be applied to */
  constructor(from: number) {
    this.from = from;
    this.highest = from;
  }

  add({ revision, puts, deletes }: JournalRecord): void {
    this.highest = Math.max(this.highest, revision);
    if (revision < this.from) return;
    for (const [key, value] of puts) this.set(key, { revision, value });
    for (const key of deletes) this.set(key, { revision, value: null });
  }

  /** Whether a row of the base is what the key names. It may be later than the base's mark, as rows are read one after another. */
  keeps(key: string, revision: number): boolean {
    this.highest = Math.max(this.highest, revision);
    const latest = this.latest.get(key);
    if (latest === undefined) return true;
    if (latest.revision > revision) return false;
    this.latest.delete(key);
    return true;
  }

  private set(key: string, change: Latest): void {
    const known = this.latest.get(key);
    if (known === undefined || known.revision < change.revision) this.latest.set(key, change);
  }
}
