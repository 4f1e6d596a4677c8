import { RawstorError } from '../../common/errors.js';
import type { Extent } from './extent.js';

/** Rows that keep what a row of the catalog names: put, and deleted, by the same transaction as that. */
export function references(
  row: string,
  entryId: string,
  extents: readonly Extent[],
): { key: string; value: Reference }[] {
  const byObject = new Map<string, { version: number; length: number }>();
  for (const { objectId, version, length } of extents) {
    const known = byObject.get(objectId) ?? { version: 0, length: 0 };
    byObject.set(objectId, {
      version: Math.max(known.version, version),
      length: known.length + length,
    });
  }
  if (byObject.size > 100) {
    throw new RawstorError('LIMIT', 'the content lies in too many objects', { where: row });
  }
  return [...byObject].map(([objectId, { version, length }]) => ({
    key: `${referencesTo(objectId)}${version}/${entryId}`,
    value: { row, length },
  }));
}

export interface Reference {
  /** The row that names the extents. */
  readonly row: string;
  /** Bytes of the object that it needs. */
  readonly length: number;
}

/** Keys of all that refer to an object begin so. */
export const referencesTo = (objectId: string) => `ref/${objectId}/`;

/** A content that a row names. */
export interface Referring {
  readonly id: string;
  readonly extents: readonly Extent[];
}

/** What goes with a change of a row that names one content, or none, and will name another, or none. */
export function exchanged(
  row: string,
  before: Referring | null,
  after: Referring | null,
): { puts: { key: string; value: Reference }[]; deletes: string[] } {
  const of = (one: Referring | null) => (one === null ? [] : references(row, one.id, one.extents));
  const puts = of(after);
  const kept = new Set(puts.map(({ key }) => key));
  const deletes = of(before).flatMap(({ key }) => (kept.has(key) ? [] : [key]));
  return { puts, deletes };
}
