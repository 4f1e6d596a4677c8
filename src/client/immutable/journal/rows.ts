import type { ObjectInfo } from '../../../protocol/object-info.js';
import { type Reference, referencesTo } from '../references.js';
import { NAME_PREFIX } from '../written-object.js';

/** What the catalog itself knows of its journals and checkpoints: rows that are in none of them. */
export interface JournalRow {
  readonly kind: 'journal' | 'checkpoint';
  readonly objectId: string;
  /** Of a checkpoint: all below is in it. Of a journal that is ended: all in it is at or below. Null: it is being written. */
  readonly revision: number | null;
  readonly bytes: number;
}

export const JOURNAL_ROWS = 'journal/';
export const journalRowKey = (objectId: string) => `${JOURNAL_ROWS}${objectId}`;

/** What keeps its object. */
export function journalReference(objectId: string): { key: string; value: Reference } {
  return {
    key: `${referencesTo(objectId)}1/journal`,
    value: { row: journalRowKey(objectId), length: 0 },
  };
}

/** Changes that may be in no journal yet. */
export const OWED_ROWS = 'owed/';

/** Rows that follow from others, or from what is on the OSTs, or that say what no journal has. */
export const isJournalled = (key: string) =>
  !key.startsWith('ref/') && !key.startsWith(JOURNAL_ROWS) && !key.startsWith(OWED_ROWS);

/** Ranges of all other rows, in the order of their keys. */
export const JOURNALLED_RANGES = [
  [' ', JOURNAL_ROWS],
  ['journal0', OWED_ROWS],
  ['owed0', 'ref/'],
  ['ref0', '~'],
] as const;

export function kindOf({ name, mode }: ObjectInfo): JournalRow['kind'] | null {
  if (mode !== 'immutable') return null;
  if (name.startsWith(`${NAME_PREFIX}journal.`)) return 'journal';
  return name.startsWith(`${NAME_PREFIX}checkpoint.`) ? 'checkpoint' : null;
}
