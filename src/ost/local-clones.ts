import { decodeBody, type Parent, parentSchema } from '../protocol/index.js';
import { idOfKey, keyAfterPrefix, RecordType, singleKey } from './record-codec.js';
import type { Change, DurableStore } from './store.js';

/** A clone that this OST has a record of. */
export interface LocalClone {
  readonly id: string;
  readonly name: string;
  readonly parent: Parent;
}

/** Records read in one turn. */
const PAGE = 1024;

/**
 * Which clones of this OST lie over what, by its own records. Whoever asks for something to be removed, what a clone here shows is kept. In memory;
 * follows every commit of an object's record.
 */
export class LocalClones {
  /** A record has ended that named this object as its parent, or names none any more. */
  onGone: (parentId: string) => void = () => {};
  private readonly store: DurableStore;
  private readonly byId = new Map<string, LocalClone>();
  private readonly byParent = new Map<string, Map<string, LocalClone>>();

  constructor(store: DurableStore) {
    this.store = store;
  }

  load(): void {
    const end = keyAfterPrefix(singleKey(RecordType.OBJECT));
    for (let from = singleKey(RecordType.OBJECT); ; ) {
      const page = this.store.range(from, end, PAGE);
      for (const { key, value } of page) this.set(idOfKey(key), value);
      if (page.length < PAGE) return;
      from = Buffer.concat([page.at(-1)!.key, Buffer.alloc(1)]);
    }
  }

  /** Those that show what the copy here of an object has. */
  over(objectId: string, ostId: string): LocalClone[] {
    const clones = [...(this.byParent.get(objectId)?.values() ?? [])];
    return clones.filter(({ parent }) => parent.ostIds.includes(ostId));
  }

  /** A new parent counts from before its commit, and one that is given up until that is durable. */
  async around(changes: readonly Change[], commit: () => Promise<void>): Promise<void> {
    const records = changes.filter(({ key }) => key[0] === RecordType.OBJECT);
    for (const { key, value } of records) if (cloneOf(key, value) !== null) this.set(idOfKey(key), value);
    try {
      await commit();
    } finally {
      for (const { key } of records) this.set(idOfKey(key), this.store.get(key) ?? null);
    }
  }

  /** `value`: of the object's record. */
  private set(id: string, value: Buffer | null): void {
    const before = this.byId.get(id);
    const clone = value === null ? null : decoded(id, value);
    if (before !== undefined) {
      this.byId.delete(id);
      const siblings = this.byParent.get(before.parent.objectId)!;
      siblings.delete(id);
      if (siblings.size === 0) this.byParent.delete(before.parent.objectId);
    }
    if (clone !== null) {
      const { objectId } = clone.parent;
      this.byId.set(id, clone);
      this.byParent.set(objectId, (this.byParent.get(objectId) ?? new Map()).set(id, clone));
    } else if (before !== undefined) this.onGone(before.parent.objectId);
  }
}

function cloneOf(key: Buffer, value: Buffer | null): LocalClone | null {
  return value === null ? null : decoded(idOfKey(key), value);
}

/** Null: no clone, or not to be read, which whoever uses that object is told. */
function decoded(id: string, value: Buffer): LocalClone | null {
  try {
    const { name, parent } = decodeBody(value) as { name: unknown; parent: unknown };
    return parent == null ? null : { id, name: String(name), parent: parentSchema.parse(parent) };
  } catch {
    return null;
  }
}
