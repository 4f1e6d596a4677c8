import { RawstorError } from '../common/errors.js';
import { parseId } from '../common/ids.js';
import {
  decodeBody,
  encodeBody,
  type ObjectRecord,
  objectRecordSchema,
  type StoredSet,
  storedSetSchema,
} from '../protocol/index.js';
import {
  chunkKey,
  decodeFence,
  decodeRegions,
  encodeFence,
  encodeRegions,
  type Fence,
  idOfKey,
  keyAfterPrefix,
  objectKey,
  parseRegionsKey,
  REGIONS_PER_PAGE,
  RecordType,
  regionsKey,
  singleKey,
} from './record-codec.js';
import type { Change, DurableStore } from './store.js';

export const RECORDS_FORMAT = 1;

export interface BootRecord {
  /** Rises whenever this OST knows that it lost unflushed writes. */
  generation: number;
  /** Kernel boot id of the last start. */
  kernel: string;
  /** Everything was flushed before the last process ended. */
  clean: boolean;
}

export interface SetRecord {
  set: StoredSet;
  lastSeal: number;
}

/** Region epochs of one page, as a scan gives them. */
export interface RegionRow {
  chunk: number;
  version: number;
  page: number;
  epochs: Float64Array;
}

/** Typed view of the durable records of an OST. Reads are short and synchronous; changes are given to `commit`. */
export class Records {
  private readonly store: DurableStore;

  constructor(store: DurableStore) {
    this.store = store;
  }

  /** @throws RawstorError BAD_DATA when the records belong to another OST or to a newer program */
  async claim(ostId: string, isNew: boolean, where: string): Promise<void> {
    const value = this.store.get(singleKey(RecordType.META));
    if (value === undefined) {
      if (!isNew) {
        throw new RawstorError('BAD_DATA', 'the records of this OST are gone', {
          where,
          hint: 'restore the directory from a copy, or move it away and start on an empty one',
        });
      }
      const meta = encodeBody({ format: RECORDS_FORMAT, ostId });
      await this.store.commit([{ key: singleKey(RecordType.META), value: meta }]);
      return;
    }
    const meta = decodeBody(value) as { format?: unknown; ostId?: unknown };
    if (meta.format !== RECORDS_FORMAT) {
      throw new RawstorError('BAD_DATA', `records of format ${String(meta.format)} are not known here`, {
        where,
        hint: 'start a newer version of rawstor on this directory',
      });
    }
    if (meta.ostId !== ostId) {
      throw new RawstorError('BAD_DATA', `the records belong to another OST (${String(meta.ostId)})`, {
        where,
        hint: 'two directories were mixed: restore records/ and rawstor-ost.json of the same OST',
      });
    }
  }

  boot(): BootRecord | null {
    const value = this.store.get(singleKey(RecordType.BOOT));
    return value === undefined ? null : (decodeBody(value) as BootRecord);
  }

  object(id: string): ObjectRecord | null {
    const value = this.store.get(objectKey(RecordType.OBJECT, parseId(id)));
    if (value === undefined) return null;
    const parsed = objectRecordSchema.safeParse(decodeBody(value));
    if (!parsed.success) {
      throw new RawstorError('BAD_DATA', 'an object record is malformed', {
        where: id,
        cause: parsed.error,
        hint: 'the record belongs to a newer version, or the database is damaged',
      });
    }
    return parsed.data;
  }

  /** Ids of the objects known here, after `after` (null: from the first), at most `limit`. */
  objectIds(after: string | null, limit: number): string[] {
    const prefix = singleKey(RecordType.OBJECT);
    const start =
      after === null
        ? prefix
        : Buffer.concat([objectKey(RecordType.OBJECT, parseId(after)), Buffer.alloc(1)]);
    return this.store.range(start, keyAfterPrefix(prefix), limit).map(({ key }) => idOfKey(key));
  }

  fence(id: string): Fence | null {
    const value = this.store.get(objectKey(RecordType.FENCE, parseId(id)));
    return value === undefined ? null : decodeFence(value);
  }

  set(id: string): SetRecord | null {
    const value = this.store.get(objectKey(RecordType.SET, parseId(id)));
    if (value === undefined) return null;
    const body = decodeBody(value) as { set: unknown; lastSeal: number };
    return { set: storedSetSchema.parse(body.set), lastSeal: body.lastSeal };
  }

  hasChunk(id: Uint8Array, chunk: number, version: number): boolean {
    return this.store.get(chunkKey(id, chunk, version)) !== undefined;
  }

  isDeleted(id: string): boolean {
    return this.store.get(objectKey(RecordType.TOMBSTONE, parseId(id))) !== undefined;
  }

  /** Objects whose removal was begun, with its wall time. */
  tombstones(): { id: string; wallMs: number }[] {
    const prefix = singleKey(RecordType.TOMBSTONE);
    return this.store
      .range(prefix, keyAfterPrefix(prefix), Number.MAX_SAFE_INTEGER)
      .map(({ key, value }) => ({ id: idOfKey(key), wallMs: value.readDoubleLE(0) }));
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
    return this.store.range(regionsKey(id, chunk, version, page), end, limit).map(({ key, value }) => {
      const epochs = new Float64Array(REGIONS_PER_PAGE);
      decodeRegions(value, epochs);
      return { ...parseRegionsKey(key), epochs };
    });
  }

  commit(changes: readonly Change[]): Promise<void> {
    return this.store.commit(changes);
  }

  /** Removes every record of an object but its tombstone, in bounded transactions. */
  async removeObject(id: string): Promise<void> {
    const bytes = parseId(id);
    for (const type of [RecordType.REGIONS, RecordType.CHUNK]) {
      const prefix = objectKey(type, bytes);
      for (;;) {
        const pairs = this.store.range(prefix, keyAfterPrefix(prefix), 1024);
        if (pairs.length === 0) break;
        await this.store.commit(pairs.map(({ key }) => ({ key, value: null })));
      }
    }
    await this.store.commit(
      [RecordType.OBJECT, RecordType.FENCE, RecordType.SET].map((type) => ({
        key: objectKey(type, bytes),
        value: null,
      })),
    );
  }

  close(): Promise<void> {
    return this.store.close();
  }
}

export function bootChange(boot: BootRecord): Change {
  return { key: singleKey(RecordType.BOOT), value: encodeBody(boot) };
}

export function objectChange(record: ObjectRecord): Change {
  return { key: objectKey(RecordType.OBJECT, parseId(record.id)), value: encodeBody(record) };
}

export function fenceChange(id: string, fence: Fence): Change {
  return { key: objectKey(RecordType.FENCE, parseId(id)), value: encodeFence(fence) };
}

export function setChange(id: string, record: SetRecord): Change {
  return { key: objectKey(RecordType.SET, parseId(id)), value: encodeBody(record) };
}

export function tombstoneChange(id: string, wallMs: number | null): Change {
  const key = objectKey(RecordType.TOMBSTONE, parseId(id));
  if (wallMs === null) return { key, value: null };
  const value = Buffer.alloc(8);
  value.writeDoubleLE(wallMs, 0);
  return { key, value };
}

export function chunkChange(id: Uint8Array, chunk: number, version: number, createdWallMs: number): Change {
  return {
    key: chunkKey(id, chunk, version),
    value: encodeBody({ parentVersion: null, createdWallMs }),
  };
}

export function regionsChange(
  id: Uint8Array,
  chunk: number,
  version: number,
  page: number,
  epochs: Float64Array,
): Change {
  return { key: regionsKey(id, chunk, version, page), value: encodeRegions(epochs) };
}
