import { isSeal, type Params } from '../protocol/index.js';
import {
  answeredBefore,
  asWriterKnows,
  type Change,
  checkSession,
  record,
  sealedMembers,
} from './in-sync-sets.js';
import type { StoredObject } from './stored-object.js';
import { changedVersions, type TreeFacts } from './version-tree.js';

/**
 * The compare-and-swap of an object's versions and size. With a new head it is a seal (I11): what was written so far is
 * durable and the same on all in sync, and is written no more.
 * @throws RawstorError FENCED, CONFLICT, NOT_FOUND, EXISTS, BUSY, LIMIT, INVALID
 */
export function changeVersions(
  stored: StoredObject,
  request: Params<'mds.changeVersions'>,
  facts: TreeFacts,
): Change {
  const before = answeredBefore(stored, 'changeVersions', request);
  if (before !== null) return before;
  checkSession(stored, request);
  const known = asWriterKnows(stored, request);
  const { object } = known;
  const members = sealedMembers(stored, object, request.members);
  const lastSeal = isSeal(request.change)
    ? Math.max(object.lastSeal, request.expectedEpoch)
    : object.lastSeal;
  const changed = changedVersions({ ...object, members, lastSeal }, request.change, facts);
  return record({ ...known, object: changed }, 'changeVersions', request);
}
