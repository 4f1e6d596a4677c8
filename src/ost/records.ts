import { join } from 'node:path';
import { z } from 'zod';
import { RawstorError } from '../common/errors.js';
import { parseId } from '../common/ids.js';
import {
  decodeBody,
  encodeBody,
  type ObjectRecord,
  objectRecordSchema,
  storedSetSchema,
} from '../protocol/index.js';
import { LocalClones } from './local-clones.js';
import {
  chunkKey,
  decodeFence,
  decodeRegions,
  FENCE_BYTES,
  type Fence,
  idOfKey,
  keyAfterPrefix,
  objectKey,
  RecordType,
  regionsKey,
  singleKey,
} from './record-codec.js';
import { type Change, type DurableStore, RECORDS_REPAIR } from './store.js';
import { type RegionRow, regionRows, removeAll, VersionRecords } from './version-records.js';

export const RECORDS_FORMAT = 1;

const metaSchema = z.object({ format: z.number(), ostId: z.string() });

const bootSchema = z.object({
  /** Rises whenever this OST knows that it lost unflushed writes. */
  generation: z.number(),
  /** Kernel boot id of the last start before which something was lost, or of the first. */
  kernel: z.string(),
  /** Everything was flushed before the last process ended. */
  clean: z.boolean(),
  /** Of a power loss some holes of layered chunks are in doubt still. Absent: of none. */
  unsettled: z.boolean().optional(),
  /** Of the last start: kernel boot id, and what `Place` says. Absent where an older program wrote this. */
  machine: z.string().optional(),
  mount: z.string().optional(),
  directory: z.string().optional(),
});
export type BootRecord = z.infer<typeof bootSchema>;

const setSchema = z.object({
  set: storedSetSchema,
  lastSeal: z.number(),
  /** Of a loss that nobody had acknowledged when the set was stored. */
  lossWallMs: z.number().nullable().optional(),
});
export type SetRecord = z.infer<typeof setSchema>;

/**
 * An object whose removal was begun or, `done`, finished. One that is `leaving` lives elsewhere: nothing is
 * remembered of it at the end but its fence, so that it may come back and earlier sessions may not.
 */
export interface Tombstone {
  id: string;
  wallMs: number;
  done: boolean;
  leaving: boolean;
}

export const TombstoneState = { BEGUN: 0, DONE: 1, LEAVING: 2 } as const;

/** Typed view of the durable records of an OST. Reads are short and synchronous; changes are given to `commit`. */
export class Records {
  readonly versions: VersionRecords;
  readonly clones: LocalClones;
  private readonly store: DurableStore;

  constructor(store: DurableStore) {
    this.store = store;
    this.versions = new VersionRecords(store);
    this.clones = new LocalClones(store);
  }

  /**
   * Answers whose records these are; new ones become `newId`'s. `ostId` is null where no identity was written
   * yet: the records of a first start that was cut short are taken over.
   * @throws RawstorError BAD_DATA when the records belong to another OST, VERSION when to a newer program
   */
  async claim(ostId: string | null, newId: string, where: string): Promise<string> {
    const value = this.store.get(singleKey(RecordType.META));
    if (value === undefined) {
      if (ostId !== null) {
        // A database cut where its newest pages were is a whole one, of an earlier time.
        throw new RawstorError('BAD_DATA', 'the records of this OST are gone', {
          where: join(where, 'data.mdb'),
          hint: RECORDS_REPAIR,
        });
      }
      const meta = encodeBody({ format: RECORDS_FORMAT, ostId: newId });
      await this.store.commit([{ key: singleKey(RecordType.META), value: meta }]);
      return newId;
    }
    const meta = decodeAs(metaSchema, value, 'the identity record');
    if (meta.format !== RECORDS_FORMAT) {
      throw new RawstorError('VERSION', `records of format ${String(meta.format)} are not known here`, {
        where,
        hint: 'start a newer version of rawstor on this directory',
      });
    }
    if (ostId !== null && meta.ostId !== ostId) {
      throw new RawstorError('BAD_DATA', `the records belong to another OST (${String(meta.ostId)})`, {
        where,
        hint: 'two directories were mixed: restore records/ and rawstor-ost.json of the same OST',
      });
    }
    return meta.ostId;
  }

  boot(): BootRecord | null {
    const value = this.store.get(singleKey(RecordType.BOOT));
    return value === undefined ? null : decodeAs(bootSchema, value, 'the boot record');
  }

  object(id: string): ObjectRecord | null {
    const value = this.store.get(objectKey(RecordType.OBJECT, parseId(id)));
    return value === undefined ? null : decodeAs(objectRecordSchema, value, `the record of object ${id}`);
  }

  /** Ids of the objects known here, after `after` (null: from the first), at most `limit`. */
  objectIds(after: string | null, limit: number): string[] {
    return this.page(RecordType.OBJECT, after, limit).map(({ key }) => idOfKey(key));
  }

  fence(id: string): Fence | null {
    const value = this.store.get(objectKey(RecordType.FENCE, parseId(id)));
    if (value === undefined) return null;
    if (value.length !== FENCE_BYTES) throw damaged(`the fence of object ${id}`);
    return decodeFence(value);
  }

  set(id: string): SetRecord | null {
    const value = this.store.get(objectKey(RecordType.SET, parseId(id)));
    return value === undefined ? null : decodeAs(setSchema, value, `the in-sync set of object ${id}`);
  }

  hasChunk(id: Uint8Array, chunk: number, version: number): boolean {
    return this.store.get(chunkKey(id, chunk, version)) !== undefined;
  }

  isDeleted(id: string): boolean {
    return this.store.get(objectKey(RecordType.TOMBSTONE, parseId(id))) !== undefined;
  }

  tombstone(id: string): Tombstone | null {
    const value = this.store.get(objectKey(RecordType.TOMBSTONE, parseId(id)));
    return value === undefined ? null : decodeTombstone(id, value);
  }

  /** Removals begun or remembered, after `after` (null: from the first), at most `limit`. */
  tombstones(after: string | null, limit: number): Tombstone[] {
    return this.page(RecordType.TOMBSTONE, after, limit).map(({ key, value }) =>
      decodeTombstone(idOfKey(key), value),
    );
  }

  /** Fills `into` with the durable epochs of a page; zeros where there is none. */
  readRegions(id: Uint8Array, chunk: number, version: number, page: number, into: Float64Array): void {
    const value = this.store.get(regionsKey(id, chunk, version, page));
    if (value === undefined) into.fill(0);
    else decodeRegions(value, into);
  }

  /** Pages of an object in order, from (chunk, version, page) on, at most `limit`. */
  scanRegions(id: Uint8Array, chunk: number, version: number, page: number, limit: number): RegionRow[] {
    const end = keyAfterPrefix(objectKey(RecordType.REGIONS, id));
    return regionRows(this.store, regionsKey(id, chunk, version, page), end, limit);
  }

  /** Known damage of all objects, from this key on, at most `limit`. */
  damage(from: Buffer, limit: number): { key: Buffer; value: Buffer }[] {
    return this.store.range(from, keyAfterPrefix(singleKey(RecordType.DAMAGE)), limit);
  }

  /** For checksums/, which has keys and values of its own. */
  value(key: Buffer): Buffer | undefined {
    return this.store.get(key);
  }

  /** Removes the checksums of all objects, in bounded transactions. */
  async removeAllSums(): Promise<void> {
    await removeAll(this.store, singleKey(RecordType.SUMS));
  }

  commit(changes: readonly Change[]): Promise<void> {
    const hasRecord = changes.some(({ key }) => key[0] === RecordType.OBJECT);
    if (!hasRecord) return this.store.commit(changes);
    return this.clones.around(changes, () => this.store.commit(changes));
  }

  /** Removes every record of an object but its tombstone, and when it is leaving its fence, in bounded transactions. */
  async removeObject(id: string, leaving: boolean): Promise<void> {
    const bytes = parseId(id);
    const types = [
      RecordType.SUMS,
      RecordType.DAMAGE,
      RecordType.ZEROS,
      RecordType.REGIONS,
      RecordType.CHUNK,
    ];
    for (const type of types) {
      await removeAll(this.store, objectKey(type, bytes));
    }
    const last = [RecordType.OBJECT, RecordType.SET, ...(leaving ? [] : [RecordType.FENCE])];
    await this.commit(last.map((type) => ({ key: objectKey(type, bytes), value: null })));
  }

  close(): Promise<void> {
    return this.store.close();
  }

  private page(type: number, after: string | null, limit: number): { key: Buffer; value: Buffer }[] {
    const prefix = singleKey(type);
    const start = after === null ? prefix : Buffer.concat([objectKey(type, parseId(after)), Buffer.alloc(1)]);
    return this.store.range(start, keyAfterPrefix(prefix), limit);
  }
}

function decodeTombstone(id: string, value: Buffer): Tombstone {
  if (value.length !== 9) throw damaged(`the tombstone of object ${id}`);
  const state = value[8];
  const leaving = state === TombstoneState.LEAVING;
  return { id, wallMs: value.readDoubleLE(0), done: state === TombstoneState.DONE, leaving };
}

/** @throws RawstorError BAD_DATA */
function decodeAs<T>(schema: z.ZodType<T>, value: Uint8Array, what: string): T {
  try {
    return schema.parse(decodeBody(value));
  } catch (cause) {
    throw damaged(what, cause);
  }
}

function damaged(what: string, cause?: unknown): RawstorError {
  return new RawstorError('BAD_DATA', `${what} is malformed in this OST's database`, {
    hint:
      'it was written by a newer version, or the database is damaged: then move the directory away, start on an ' +
      'empty one and let its volumes resync',
    cause,
  });
}
