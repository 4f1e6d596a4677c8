import { z } from 'zod';
import { encodeBody } from '../protocol/index.js';
import { type MetadataStore, prefixRange } from './store.js';
import { decodeAs, LEFT_PREFIX } from './stored-object.js';

export const leftSchema = z.object({ epoch: z.number().int().nonnegative() });

const PAGE = 1000;

/** `left/<OST>/<object>`: put by the transaction after which nobody needs that copy. */
export function putLeft(ostId: string, objectId: string, epoch: number): { key: string; value: Uint8Array } {
  return { key: `${LEFT_PREFIX}${ostId}/${objectId}`, value: encodeBody({ epoch }) };
}

/**
 * Copies that OSTs are to delete because the object lives elsewhere by now. One is told until it confirms; until
 * then the object is not placed there again. The index is in memory.
 */
export class LeftCopies {
  private readonly store: MetadataStore;
  private readonly byOst = new Map<string, Map<string, number>>();

  constructor(store: MetadataStore) {
    this.store = store;
  }

  /** Reads what earlier runs left and follows the store from here. */
  async start(): Promise<void> {
    this.store.watch(LEFT_PREFIX, (events) => {
      for (const { key, value } of events) this.index(key, value);
    });
    const { from, to } = prefixRange(LEFT_PREFIX);
    let start = from;
    for (;;) {
      const page = await this.store.range({ from: start, to, limit: PAGE });
      for (const { key, value } of page) this.index(key, value);
      if (page.length < PAGE) return;
      start = `${page[page.length - 1]!.key} `;
    }
  }

  has(ostId: string, objectId: string): boolean {
    return this.byOst.get(ostId)?.has(objectId) === true;
  }

  count(ostId: string): number {
    return this.byOst.get(ostId)?.size ?? 0;
  }

  /** Some that the OST has not confirmed. */
  pending(ostId: string, limit: number): { id: string; epoch: number }[] {
    const found: { id: string; epoch: number }[] = [];
    for (const [id, epoch] of this.byOst.get(ostId) ?? []) {
      if (found.length >= limit) break;
      found.push({ id, epoch });
    }
    return found;
  }

  async confirm(ostId: string, objectIds: readonly string[]): Promise<void> {
    for (let at = 0; at < objectIds.length; at += PAGE / 10) {
      const keys = objectIds.slice(at, at + PAGE / 10).map((id) => `${LEFT_PREFIX}${ostId}/${id}`);
      await this.store.transact({ checks: [], deletes: [...new Set(keys)] });
    }
  }

  private index(key: string, value: Uint8Array | null): void {
    const [ostId = '', objectId = ''] = key.slice(LEFT_PREFIX.length).split('/');
    const copies = this.byOst.get(ostId) ?? new Map<string, number>();
    if (value === null) copies.delete(objectId);
    else copies.set(objectId, decodeAs(leftSchema, key, value).epoch);
    if (copies.size > 0) this.byOst.set(ostId, copies);
    else this.byOst.delete(ostId);
  }
}
