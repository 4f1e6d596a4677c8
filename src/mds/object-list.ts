import { asRawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import type { Logger } from '../common/log.js';
import { decodeBody } from '../protocol/index.js';
import { type MetadataStore, prefixRange } from './store.js';
import { decodeStored, NAME_PREFIX, OBJECT_PREFIX, type StoredObject } from './stored-object.js';

/** Damaged records in the log of one process. */
const DAMAGED_TOLD = 1000;

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
   * @param strict for who decides by what is not there. @throws RawstorError then: BAD_DATA
   */
  async page(after: string, limit: number, strict: boolean): Promise<StoredObject[]> {
    const { from, to } = prefixRange(NAME_PREFIX);
    // Names have no characters below '+', so a blank after the name is the least key past it.
    let start = after === '' ? from : `${NAME_PREFIX}${after} `;
    for (;;) {
      const names = await this.store.range({ from: start, to, limit });
      const found: StoredObject[] = [];
      let bytes = 0;
      for (const { value } of names) {
        const key = OBJECT_PREFIX + (decodeBody(value) as string);
        const entry = await this.store.get(key);
        if (entry === null) continue; // Removed meanwhile.
        bytes += entry.value.length;
        try {
          found.push(decodeStored(key, entry.value));
        } catch (error) {
          if (strict) throw error;
          this.tell(key, error);
        }
        if (found.length > 0 && bytes > LIMITS.answerBytes) return found;
      }
      if (found.length > 0 || names.length < limit) return found;
      start = `${names[names.length - 1]!.key} `;
    }
  }

  private tell(key: string, error: unknown): void {
    if (this.damaged.has(key) || this.damaged.size >= DAMAGED_TOLD) return;
    this.damaged.add(key);
    this.log?.error({ key, reason: asRawstorError(error).toUserText() }, 'a record is left out of lists');
  }
}
