import { z } from 'zod';
import { CATALOG_STATES, type CatalogEntry, encodeBody } from '../protocol/index.js';
import type { StoreEntry } from './store.js';
import { decodeAs } from './stored-object.js';

/** Rows of the catalog in the store: docs/formats-mds.md. */

export const CATALOG_PREFIX = 'catalog/';
/** Of a dump, from the load to the end of the recovery. */
export const DUMPED_PREFIX = 'dumped/';
export const CATALOG_STATE_KEY = 'meta/catalog';

const count = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);

export const catalogRecordSchema = z.object({
  state: z.enum(CATALOG_STATES),
  /** Rises with every recovery: the high part of revisions. */
  life: count,
  dumpedRevision: count.nullable(),
});
export type CatalogRecord = z.infer<typeof catalogRecordSchema>;

export const NEW_CATALOG: CatalogRecord = { state: 'whole', life: 1, dumpedRevision: null };

export function putCatalogRecord(record: CatalogRecord): { key: string; value: Uint8Array } {
  return { key: CATALOG_STATE_KEY, value: encodeBody(record) };
}

const dumpedSchema = z.object({ revision: count, value: z.instanceof(Uint8Array) });

export function putDumpedRow({ key, value, version }: CatalogEntry): { key: string; value: Uint8Array } {
  return { key: DUMPED_PREFIX + key, value: encodeBody({ revision: version, value }) };
}

/** With the revision that it had when it was dumped. @throws RawstorError BAD_DATA */
export function dumpedRow({ key, value }: StoreEntry): CatalogEntry {
  const row = decodeAs(dumpedSchema, key, value);
  return { key: key.slice(DUMPED_PREFIX.length), value: row.value, version: row.revision };
}

/** What a dump need not hold of the catalog: references follow from the rows, journals are of the OSTs, and so is what they are owed. */
export const isDerived = (key: string): boolean => /^(ref|journal|owed)\//.test(key);
