import { z } from 'zod';
import { encodeBody } from '../protocol/index.js';
import { follow } from './follow.js';
import { type MetadataStore, STORE_LIMITS } from './store.js';
import { decodeAs, LEFT_PREFIX } from './stored-object.js';

export const leftSchema = z.object({ epoch: z.number().int().nonnegative() });

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
  start(): Promise<void> {
    return follow(this.store, LEFT_PREFIX, (key, value) => this.index(key, value));
  }

  has(ostId: string, objectId: string): boolean {
    return this.byOst.get(ostId)?.has(objectId) === true;
  }

  count(ostId: string): number {
    return this.byOst.get(ostId)?.size ?? 0;
  }

  /** Some that the OST has not confirmed. */
  pending(
    ostId: string,
    limit: number,
    fit: (objectId: string) => boolean = () => true,
  ): { id: string; epoch: number }[] {
    const copies = this.byOst.get(ostId);
    const found: { id: string; epoch: number }[] = [];
    for (const [id, epoch] of copies ?? []) {
      if (found.length >= limit) break;
      if (fit(id)) found.push({ id, epoch });
    }
    // The others come first with the next answer: these may be refused again and again.
    if (found.length === limit) {
      for (const { id, epoch } of found) if (copies?.delete(id)) copies.set(id, epoch);
    }
    return found;
  }

  async confirm(ostId: string, objectIds: readonly string[]): Promise<void> {
    for (let at = 0; at < objectIds.length; at += STORE_LIMITS.operations) {
      const keys = objectIds
        .slice(at, at + STORE_LIMITS.operations)
        .map((id) => `${LEFT_PREFIX}${ostId}/${id}`);
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
