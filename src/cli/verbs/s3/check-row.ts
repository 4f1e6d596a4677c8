import { isDeepStrictEqual } from 'node:util';
import type { Row } from '../../../client/index.js';
import type { ObjectRow } from '../../../s3-lite/index.js';

/** A key whose content is replaced each time before it is read is left for another day. */
const CONTENTS = 10;

export interface Checked {
  readonly row: ObjectRow;
  /** Null: it is what was written. */
  readonly failure: unknown;
}

/**
 * Reads what is under a key. What was replaced, removed or moved since its row was taken may be gone from the OSTs, and is not damaged for
 * that: only what the row still names is.
 * @param taken of a page that may be hours old
 * @param now the row as it is
 * @param read throws for what cannot be read, or is not what was written
 * @returns null where the key is gone, or changes all the time
 */
export async function checkRow(
  taken: ObjectRow,
  now: () => Promise<Row<ObjectRow> | null>,
  read: (row: ObjectRow) => Promise<void>,
): Promise<Checked | null> {
  let row = taken;
  for (let i = 0; i < CONTENTS; i++) {
    try {
      await read(row);
      return { row, failure: null };
    } catch (failure) {
      const found = await now();
      if (found === null) return null;
      const { id, extents } = found.value;
      if (id === row.id && isDeepStrictEqual(extents, row.extents)) return { row, failure };
      row = found.value;
    }
  }
  return null;
}
