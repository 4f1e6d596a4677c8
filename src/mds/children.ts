import { z } from 'zod';
import { encodeBody, idSchema, type Parent } from '../protocol/index.js';
import { follow } from './follow.js';
import { type MetadataStore, prefixRange } from './store.js';
import { CHILD_PREFIX, decodeAs, type StoredObject } from './stored-object.js';

/**
 * `child/<parent>/<clone>`, put, changed and deleted by the transactions that make, change and end a clone: which version
 * it lies over, and the OSTs whose copy of the parent it may need. `name`: of a clone that stayed out of a rebuild.
 */
export const childSchema = z.object({
  version: z.number().int(),
  ostIds: z.array(idSchema),
  name: z.string().optional(),
});

export interface Child {
  readonly id: string;
  readonly version: number;
  /** There is no such object at this MDS, but some OST may still have it. */
  readonly absentName: string | null;
}

interface ChildChange {
  readonly puts: { key: string; value: Uint8Array }[];
  readonly deletes: string[];
}

/** What a change of an object does to the entry under its parent; null: before it was made, after it was removed. */
export function childChange(before: StoredObject | null, after: StoredObject | null): ChildChange {
  const [old, next] = [before, after].map((stored) => (stored === null ? null : entryOf(stored)));
  if (next != null) {
    const same = old != null && Buffer.compare(old.value, next.value) === 0;
    return { puts: same ? [] : [next], deletes: [] };
  }
  return { puts: [], deletes: old == null ? [] : [old.key] };
}

function entryOf({ object, left }: StoredObject): { key: string; value: Uint8Array } | null {
  const { id, parent } = object;
  if (parent === null) return null;
  // Who has left the map and may not delete yet still has the clone's files, for a clone of the clone maybe.
  const ostIds = [...new Set([...parent.ostIds, ...left])];
  return { key: keyOf(parent.objectId, id), value: encodeBody({ version: parent.version, ostIds }) };
}

/** The entry of a clone that stays out of a rebuild: what it lies over is kept for it. */
export function absentChild(id: string, name: string, parent: Parent): { key: string; value: Uint8Array } {
  const { objectId, version, ostIds } = parent;
  return { key: keyOf(objectId, id), value: encodeBody({ version, ostIds, name }) };
}

/** Names of clones in one message. */
const ABSENT_TOLD = 5;
const PAGE = 500;

const keyOf = (parentId: string, childId: string) => `${CHILD_PREFIX}${parentId}/${childId}`;

/** Direct ones, by id. */
export async function childrenOf(store: MetadataStore, parentId: string, limit?: number): Promise<Child[]> {
  const prefix = keyOf(parentId, '');
  const found = await store.range({ ...prefixRange(prefix), ...(limit === undefined ? {} : { limit }) });
  return found.map(({ key, value }) => {
    const { version, name = null } = decodeAs(childSchema, key, value);
    return { id: key.slice(prefix.length), version, absentName: name };
  });
}

/** Clones that stayed out of a rebuild and may be on this OST, or need its copy of what they lie over; at most some. */
export async function absentOn(store: MetadataStore, ostId: string): Promise<string[]> {
  const names: string[] = [];
  for await (const { child } of absentEntries(store, ostId)) {
    if (names.push(child.name!) === ABSENT_TOLD) break;
  }
  return names;
}

/** The OST is gone for good: what only it needed of them is kept for nobody any more. */
export async function forgetAbsent(store: MetadataStore, ostId: string): Promise<void> {
  for await (const { key, version, child } of absentEntries(store, ostId)) {
    const ostIds = child.ostIds.filter((id) => id !== ostId);
    const checks = [{ key, version }];
    // One that was changed meanwhile is a clone that has come back.
    if (ostIds.length === 0) await store.transact({ checks, deletes: [key] });
    else await store.transact({ checks, puts: [{ key, value: encodeBody({ ...child, ostIds }) }] });
  }
}

async function* absentEntries(store: MetadataStore, ostId: string) {
  const { from, to } = prefixRange(CHILD_PREFIX);
  for (let start = from; ; ) {
    const page = await store.range({ from: start, to, limit: PAGE });
    for (const { key, value, version } of page) {
      const child = decodeAs(childSchema, key, value);
      if (child.name !== undefined && child.ostIds.includes(ostId)) yield { key, version, child };
    }
    if (page.length < PAGE) return;
    start = `${page.at(-1)!.key} `;
  }
}

/** Which OSTs must keep a copy that has moved elsewhere, because a clone there lies over it. The index is in memory. */
export class Children {
  private readonly store: MetadataStore;
  private readonly byParent = new Map<string, Map<string, ReadonlySet<string>>>();

  constructor(store: MetadataStore) {
    this.store = store;
  }

  /** Reads what earlier runs left and follows the store from here. */
  start(): Promise<void> {
    return follow(this.store, CHILD_PREFIX, (key, value) => this.index(key, value));
  }

  /**
   * A clone needs the OST's copy of the object, or a left copy of a clone does, which is itself needed.
   * @param isLeft whether the OST has a copy of an object that it is to delete
   */
  need(objectId: string, ostId: string, isLeft: (ostId: string, objectId: string) => boolean): boolean {
    for (const [childId, ostIds] of this.byParent.get(objectId) ?? []) {
      if (ostIds.has(ostId)) return true;
      if (isLeft(ostId, childId) && this.need(childId, ostId, isLeft)) return true;
    }
    return false;
  }

  private index(key: string, value: Uint8Array | null): void {
    const [parentId = '', childId = ''] = key.slice(CHILD_PREFIX.length).split('/');
    const children = this.byParent.get(parentId) ?? new Map<string, ReadonlySet<string>>();
    if (value === null) children.delete(childId);
    else children.set(childId, new Set(decodeAs(childSchema, key, value).ostIds));
    if (children.size > 0) this.byParent.set(parentId, children);
    else this.byParent.delete(parentId);
  }
}
