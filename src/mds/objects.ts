import type { Clock } from '../common/clock.js';
import { isId, newId } from '../common/ids.js';
import type { Logger } from '../common/log.js';
import type { Random } from '../common/random.js';
import { decodeBody, encodeBody, type ObjectRecord } from '../protocol/index.js';
import { type Child, childChange, childrenOf } from './children.js';
import { contended, nameTaken, notFound } from './object-errors.js';
import { ObjectList } from './object-list.js';
import { type MetadataStore, prefixRange, type StoreTransaction } from './store.js';
import {
  decodeStored,
  encodeStored,
  NAME_PREFIX,
  newStoredObject,
  OBJECT_PREFIX,
  type StoredObject,
} from './stored-object.js';
import { putTombstone } from './tombstones.js';

/** An object and the version of its record that was read. */
export interface Loaded {
  readonly stored: StoredObject;
  readonly version: number;
}

export interface NamedChild extends Omit<Child, 'absentName'> {
  readonly name: string;
}

export interface Removal {
  readonly id: string;
  readonly nowWallMs: number;
  /** Refuses by throwing. */
  readonly check: (stored: StoredObject, children: readonly NamedChild[]) => void;
}

interface RemovedObject extends Required<StoreTransaction> {
  readonly stored: StoredObject;
  readonly name: string;
}

/** Times a change is tried again because another MDS changed the record meanwhile. */
const ATTEMPTS = 16;

/** Objects by id and by unique name, in the store. Every change is one transaction: nothing is ever half made. */
export class Objects {
  private readonly store: MetadataStore;
  readonly listed: ObjectList;
  private total = 0;

  constructor(store: MetadataStore, log?: Logger) {
    this.store = store;
    this.listed = new ObjectList(store, log);
  }

  /** Counts what earlier runs left and follows the store from here. */
  async start(): Promise<void> {
    this.total = (await this.store.range(prefixRange(NAME_PREFIX))).length;
    // A creation puts names alone; a renaming deletes one as well, whether it replaces another object or not.
    this.store.watch(NAME_PREFIX, (events) => {
      if (events.every((event) => event.value !== null)) this.total += events.length;
    });
    this.store.watch(OBJECT_PREFIX, (events) => {
      for (const event of events) if (event.value === null) this.total--;
    });
  }

  get count(): number {
    return this.total;
  }

  /** @throws RawstorError EXISTS when the name is taken */
  async create(object: ObjectRecord): Promise<StoredObject> {
    const stored = newStoredObject(object);
    const [idKey, nameKey] = [OBJECT_PREFIX + object.id, NAME_PREFIX + object.name];
    const outcome = await this.store.transact({
      checks: [
        { key: nameKey, version: 0 },
        { key: idKey, version: 0 },
      ],
      puts: [
        { key: idKey, value: encodeStored(stored) },
        { key: nameKey, value: encodeBody(object.id) },
      ],
    });
    if (!outcome.committed) throw nameTaken(object.name);
    return stored;
  }

  /** @throws RawstorError EXISTS when the name is taken; create checks it again */
  async checkNameFree(name: string): Promise<void> {
    if ((await this.store.get(NAME_PREFIX + name)) !== null) throw nameTaken(name);
  }

  /** The id behind a name or an id. @throws RawstorError NOT_FOUND */
  async resolve(ref: string): Promise<string> {
    if (isId(ref)) return ref;
    const entry = await this.store.get(NAME_PREFIX + ref);
    if (entry === null) throw notFound(ref);
    return decodeBody(entry.value) as string;
  }

  /** By name or id. @throws RawstorError NOT_FOUND */
  async find(ref: string): Promise<StoredObject> {
    return (await this.load(await this.resolve(ref))).stored;
  }

  /** @throws RawstorError NOT_FOUND */
  async load(id: string): Promise<Loaded> {
    const key = OBJECT_PREFIX + id;
    const entry = await this.store.get(key);
    if (entry === null) throw notFound(id);
    return { stored: decodeStored(key, entry.value), version: entry.version };
  }

  /**
   * Reads, changes, writes unless changed meanwhile, then tries again. `change` answers the new object, or null
   * for no change; what it throws ends it. `also` is put by the same transaction.
   * @returns the object as it is now
   */
  async update(
    id: string,
    change: (stored: StoredObject) => StoredObject | null,
    also: () => { key: string; value: Uint8Array }[] = () => [],
  ): Promise<StoredObject> {
    return this.attempt(id, async ({ stored, version }) => {
      const next = change(stored);
      return next === null ? stored : await this.put(stored, next, version, also());
    });
  }

  /** As `update`, for a change that depends on which clones of a version there are; null: on none. */
  async updateTree(
    id: string,
    version: number | null,
    change: (stored: StoredObject, children: readonly NamedChild[]) => StoredObject | null,
  ): Promise<StoredObject> {
    return this.attempt(id, async ({ stored, version: read }) => {
      // Read after the object: a clone that comes since then puts the object too, and what is made of these fails.
      const next = change(stored, await this.childrenOfVersion(id, version));
      return next === null ? stored : await this.put(stored, next, read, []);
    });
  }

  /**
   * Makes a clone. Its parent is put again as it is, so that a change which has not seen the clone fails.
   * @param make refuses by throwing
   */
  async createChild(
    parentId: string,
    make: (parent: ObjectRecord) => Promise<ObjectRecord>,
  ): Promise<StoredObject> {
    return this.attempt(parentId, async ({ stored: parent, version }) => {
      const object = await make(parent.object);
      await this.checkNameFree(object.name);
      const stored = newStoredObject(object);
      const outcome = await this.store.transact({
        checks: [
          { key: OBJECT_PREFIX + parentId, version },
          { key: NAME_PREFIX + object.name, version: 0 },
          { key: OBJECT_PREFIX + object.id, version: 0 },
        ],
        puts: [
          { key: OBJECT_PREFIX + parentId, value: encodeStored(parent) },
          { key: OBJECT_PREFIX + object.id, value: encodeStored(stored) },
          { key: NAME_PREFIX + object.name, value: encodeBody(object.id) },
          ...childChange(null, stored).puts,
        ],
      });
      return outcome.committed ? stored : null;
    });
  }

  /** Clones of its snapshots, with their present names. */
  async children(id: string, limit?: number): Promise<NamedChild[]> {
    return this.named(await childrenOf(this.store, id, limit));
  }

  /** Null: of none. */
  async childrenOfVersion(id: string, version: number | null): Promise<NamedChild[]> {
    if (version === null) return [];
    return this.named((await childrenOf(this.store, id)).filter((child) => child.version === version));
  }

  private async named(children: readonly Child[]): Promise<NamedChild[]> {
    const named = children.map(async ({ id, version, absentName }): Promise<NamedChild[]> => {
      const key = OBJECT_PREFIX + id;
      const entry = await this.store.get(key);
      // Null: removed meanwhile, or left out of a rebuild.
      const name = entry === null ? absentName : decodeStored(key, entry.value).object.name;
      return name === null ? [] : [{ id, version, name }];
    });
    return (await Promise.all(named)).flat();
  }

  /** Null: somebody else has changed the object meanwhile. */
  private async put(
    before: StoredObject,
    next: StoredObject,
    version: number,
    also: { key: string; value: Uint8Array }[],
  ): Promise<StoredObject | null> {
    const key = OBJECT_PREFIX + next.object.id;
    const child = childChange(before, next);
    const outcome = await this.store.transact({
      checks: [{ key, version }],
      puts: [{ key, value: encodeStored(next) }, ...child.puts, ...also],
      deletes: child.deletes,
    });
    return outcome.committed ? next : null;
  }

  private async attempt<T>(id: string, once: (loaded: Loaded) => Promise<T | null>): Promise<T> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const done = await once(await this.load(id));
      if (done !== null) return done;
    }
    throw contended(id);
  }

  /**
   * @param change answers the record with the new name; refuses by throwing
   * @param replaced has the name until then, and is removed by the same transaction
   * @throws RawstorError NOT_FOUND, EXISTS
   */
  async rename(
    id: string,
    name: string,
    change: (stored: StoredObject) => ObjectRecord,
    replaced: Removal | null = null,
  ): Promise<StoredObject> {
    return this.attempt(id, async ({ stored, version }) => {
      if (stored.object.name === name) return stored;
      const next = { ...stored, object: change(stored) };
      const removed = replaced === null ? null : await this.removed(replaced);
      // It has got another name meanwhile.
      if (removed !== null && removed.name !== name) throw contended(removed.name);
      if (removed === null) await this.checkNameFree(name);
      const outcome = await this.store.transact({
        checks: [
          { key: OBJECT_PREFIX + id, version },
          ...(removed?.checks ?? [{ key: NAME_PREFIX + name, version: 0 }]),
        ],
        puts: [
          { key: OBJECT_PREFIX + id, value: encodeStored(next) },
          { key: NAME_PREFIX + name, value: encodeBody(id) },
          ...(removed?.puts ?? []),
        ],
        deletes: [NAME_PREFIX + stored.object.name, ...(removed?.deletes ?? [])],
      });
      return outcome.committed ? next : null;
    });
  }

  /** Removes the object and its name and leaves a tombstone for its OSTs. */
  async remove(removal: Removal): Promise<StoredObject> {
    return this.attempt(removal.id, async () => {
      const { stored, name, checks, puts, deletes } = await this.removed(removal);
      const outcome = await this.store.transact({ checks, puts, deletes: [...deletes, NAME_PREFIX + name] });
      return outcome.committed ? stored : null;
    });
  }

  /** What removes an object, but for its name. */
  private async removed({ id, nowWallMs, check }: Removal): Promise<RemovedObject> {
    const { stored, version } = await this.load(id);
    check(stored, await this.children(id, 10));
    return {
      stored,
      name: stored.object.name,
      checks: [{ key: OBJECT_PREFIX + id, version }],
      puts: [putTombstone(id, everywhere(stored), nowWallMs)],
      deletes: [OBJECT_PREFIX + id, ...childChange(stored, null).deletes],
    };
  }

  /** See ObjectList. */
  list(after: string, limit: number): Promise<StoredObject[]> {
    return this.listed.page(after, limit);
  }
}

/** Every OST that may hold chunks of the object. */
export function ostsOf(object: ObjectRecord): string[] {
  const exceptions = object.map.exceptions.flatMap((e) => e.ostIds);
  return [...new Set([...object.map.pool.map((t) => t.ostId), ...exceptions])];
}

/** Every OST that has something of the object, is to get it, or may still have it. */
export function everywhere({ object, wanted, left }: StoredObject): string[] {
  const members = object.members.map((member) => member.ostId);
  return [...new Set([...ostsOf(object), ...members, ...(wanted === null ? [] : [wanted.to]), ...left])];
}

export function newObjectId(clock: Clock, random: Random): string {
  const bytes = new Uint8Array(10);
  for (let i = 0; i < bytes.length; i++) bytes[i] = random.below(256);
  return newId(clock.wallMs(), bytes);
}
