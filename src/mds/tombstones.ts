import { z } from 'zod';
import { encodeBody, idSchema } from '../protocol/index.js';
import { follow } from './follow.js';
import { type MetadataStore, STORE_LIMITS } from './store.js';
import { decodeAs, TOMBSTONE_PREFIX } from './stored-object.js';

/** OSTs that have not confirmed the removal yet. */
export const tombstoneSchema = z.object({ ostIds: z.array(idSchema) });

/** The put that goes into the transaction which removes the object. */
export function putTombstone(
  objectId: string,
  ostIds: readonly string[],
): { key: string; value: Uint8Array } {
  return { key: TOMBSTONE_PREFIX + objectId, value: encodeBody({ ostIds }) };
}

const ATTEMPTS = 16;

/**
 * Removed objects whose OSTs have not all said that they gave the space back: an OST that was away learns of
 * the removal when it comes back. One record an object; the index by OST is in memory.
 */
export class Tombstones {
  private readonly store: MetadataStore;
  private readonly byOst = new Map<string, Set<string>>();

  constructor(store: MetadataStore) {
    this.store = store;
  }

  /** Reads what earlier runs left and follows the store from here. */
  start(): Promise<void> {
    return follow(this.store, TOMBSTONE_PREFIX, (key, value) => this.index(key, value));
  }

  /** Some of the removed objects the OST has not confirmed. */
  pending(ostId: string, limit: number): string[] {
    const found: string[] = [];
    for (const objectId of this.byOst.get(ostId) ?? []) {
      if (found.length >= limit) break;
      found.push(objectId);
    }
    return found;
  }

  async confirm(ostId: string, objectIds: readonly string[]): Promise<void> {
    for (let at = 0; at < objectIds.length; at += STORE_LIMITS.operations) {
      await this.confirmSome(ostId, objectIds.slice(at, at + STORE_LIMITS.operations));
    }
  }

  private async confirmSome(ostId: string, objectIds: readonly string[]): Promise<void> {
    const wanted = [...new Set(objectIds)];
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const checks: { key: string; version: number }[] = [];
      const puts: { key: string; value: Uint8Array }[] = [];
      const deletes: string[] = [];
      for (const objectId of wanted) {
        const key = TOMBSTONE_PREFIX + objectId;
        const entry = await this.store.get(key);
        if (entry === null) continue;
        const left = decodeAs(tombstoneSchema, key, entry.value).ostIds.filter((id) => id !== ostId);
        checks.push({ key, version: entry.version });
        if (left.length === 0) deletes.push(key);
        else puts.push(putTombstone(objectId, left));
      }
      if (checks.length === 0) return;
      if ((await this.store.transact({ checks, puts, deletes })).committed) return;
    }
    // Left as it is: the OST is told again and confirms again.
  }

  private index(key: string, value: Uint8Array | null): void {
    const objectId = key.slice(TOMBSTONE_PREFIX.length);
    const ostIds = value === null ? [] : decodeAs(tombstoneSchema, key, value).ostIds;
    for (const ostId of ostIds) {
      const pending = this.byOst.get(ostId) ?? new Set();
      this.byOst.set(ostId, pending.add(objectId));
    }
    for (const [ostId, pending] of this.byOst) {
      if (ostIds.includes(ostId)) continue;
      if (pending.delete(objectId) && pending.size === 0) this.byOst.delete(ostId);
    }
  }
}
