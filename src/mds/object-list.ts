import { asRawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import type { Logger } from '../common/log.js';
import { decodeBody } from '../protocol/index.js';
import { type MetadataStore, prefixRange, type StoreEntry } from './store.js';
import { decodeStored, NAME_PREFIX, OBJECT_PREFIX, type StoredObject } from './stored-object.js';

/** Damaged records in the log of one process. */
const DAMAGED_TOLD = 1000;

/** Which objects are wanted of all. */
export interface Choice {
  /** Names read at a time. */
  readonly atOnce: number;
  /** By its record. @throws RawstorError BAD_DATA */
  readonly fits: (entry: StoreEntry) => boolean;
  /** Awaited before each: all may be looked through for one. */
  readonly rest: () => Promise<void>;
}

/** Objects in the order of their names. */
export class ObjectList {
  private readonly store: MetadataStore;
  private readonly log: Logger | undefined;
  /** Keys of damaged records that the log has. */
  private readonly damaged = new Set<string>();

  constructor(store: MetadataStore, log?: Logger) {
    this.store = store;
    this.log = log;
  }

  /**
   * At least one object after the name, unless there is none; at most `limit`, and no more are read than one message holds. A damaged record keeps nobody from the others: it is
   * left out, and in the log.
   */
  async page(after: string, limit: number, choice?: Choice): Promise<StoredObject[]> {
    const { from, to } = prefixRange(NAME_PREFIX);
    const atOnce = choice?.atOnce ?? limit;
    // Names have no characters below '+', so a blank after the name is the least key past it.
    let start = after === '' ? from : `${NAME_PREFIX}${after} `;
    for (;;) {
      const names = await this.store.range({ from: start, to, limit: atOnce });
      const found: StoredObject[] = [];
      let bytes = 0;
      for (const { value } of names) {
        await choice?.rest();
        const key = OBJECT_PREFIX + (decodeBody(value) as string);
        const entry = await this.store.get(key);
        if (entry === null) continue; // Removed meanwhile.
        const stored = this.read(entry, choice);
        if (stored === null) continue;
        bytes += entry.value.length;
        found.push(stored);
        if (found.length === limit || bytes > LIMITS.answerBytes) return found;
      }
      if (found.length > 0 || names.length < atOnce) return found;
      start = `${names[names.length - 1]!.key} `;
    }
  }

  /** Null where it is not wanted or cannot be read. */
  private read(entry: StoreEntry, choice: Choice | undefined): StoredObject | null {
    try {
      if (choice?.fits(entry) === false) return null;
      return decodeStored(entry.key, entry.value);
    } catch (error) {
      this.tell(entry.key, error);
      return null;
    }
  }

  private tell(key: string, error: unknown): void {
    if (this.damaged.has(key) || this.damaged.size >= DAMAGED_TOLD) return;
    this.damaged.add(key);
    this.log?.error({ key, reason: asRawstorError(error).toUserText() }, 'a record is left out of lists');
  }
}
