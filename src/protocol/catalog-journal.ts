import type { ObjectRecord } from './records.js';

/** Journals of the catalog (docs/s3.md) are objects that are named so. */
export const JOURNAL_PREFIX = 's3.journal.';

/**
 * A journal has room where nothing else has any more: what is removed from a full cluster is on record there first, and without that
 * nothing could be removed.
 */
export function mayTakeReserve({
  mode,
  name,
}: {
  mode?: ObjectRecord['mode'] | undefined;
  name: string;
}): boolean {
  return mode === 'immutable' && name.startsWith(JOURNAL_PREFIX);
}
