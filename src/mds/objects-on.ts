import type { Clock } from '../common/clock.js';
import { Turn } from '../common/turn.js';
import type { ObjectList } from './object-list.js';
import { type MetadataStore, prefixRange } from './store.js';
import { decodeStored, OBJECT_PREFIX, type StoredObject } from './stored-object.js';
import { Whereabouts } from './whereabouts.js';

const PAGE = 200;

/** What is on an OST, is to get there, or may be there still. */
export class ObjectsOn {
  private readonly store: MetadataStore;
  private readonly clock: Clock;
  private readonly listed: ObjectList;
  private readonly whereabouts = new Whereabouts();

  constructor(store: MetadataStore, clock: Clock, listed: ObjectList) {
    this.store = store;
    this.clock = clock;
    this.listed = listed;
  }

  /** Some, by name; none is the end. Damaged records are left out. */
  page(ostId: string, after: string, limit: number): Promise<StoredObject[]> {
    const turn = new Turn(this.clock);
    return this.listed.page(after, limit, {
      atOnce: PAGE,
      fits: (entry) => this.whereabouts.isOn(ostId, entry),
      rest: () => turn.rest(),
    });
  }

  /**
   * For who decides by that there is none. By id: what is renamed meanwhile would be before the place that has been
   * reached by name.
   * @throws RawstorError BAD_DATA: a record that cannot be read may be of what it has
   */
  async any(ostId: string): Promise<StoredObject | null> {
    const turn = new Turn(this.clock);
    const { from, to } = prefixRange(OBJECT_PREFIX);
    for (let start = from; ; ) {
      const page = await this.store.range({ from: start, to, limit: PAGE });
      for (const entry of page) {
        if (this.whereabouts.isOn(ostId, entry)) return decodeStored(entry.key, entry.value);
        await turn.rest();
      }
      if (page.length < PAGE) return null;
      start = `${page.at(-1)!.key} `;
    }
  }
}
