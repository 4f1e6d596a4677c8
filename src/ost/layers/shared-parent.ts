import { type ObjectRecord, parentWithout } from '../../protocol/index.js';
import type { Records } from '../records.js';
import { hasVersion, sharesParent } from './lineage.js';

/**
 * Whether the copy here of a clone's parent is what it was when the clone was made; asked before this OST has a record of the clone. It has none where its
 * directory was put back from a copy of before: then the parent's version may be older than it was frozen. Nothing else tells, where nobody opens the parent.
 */
function hasParent(records: Records, { parent }: ObjectRecord, ostId: string): boolean {
  if (parent === null) return true;
  const { objectId, version, keptEpochs = {} } = parent;
  const record = records.isDeleted(objectId) ? null : records.object(objectId);
  if (record === null || !hasVersion(record, version)) return false;
  const set = records.set(objectId)?.set ?? null;
  if ((set?.epoch ?? 0) < (keptEpochs[ostId] ?? 0)) return false;
  // One that is being brought the parent again is told the newest set before it has all.
  return set === null || set.members.some((one) => one.ostId === ostId && one.state === 'in-sync');
}

/** A record that is brought for the first time, as it is true here. */
export function asFirstKnown(records: Records, brought: ObjectRecord, ostId: string): ObjectRecord {
  if (!sharesParent(brought, ostId) || hasParent(records, brought, ostId)) return brought;
  return { ...brought, parent: parentWithout(brought.parent, [ostId]) };
}

/** What was not shared here once never is again, whatever record is brought. */
export function asShared(known: ObjectRecord, brought: ObjectRecord, ostId: string): ObjectRecord {
  if (!lacksParent(known, brought, ostId)) return brought;
  return { ...brought, parent: parentWithout(brought.parent, [ostId]) };
}

/** Who brings the record takes the parent's copy here for shared, and it is not. */
export function lacksParent(known: ObjectRecord, brought: ObjectRecord, ostId: string): boolean {
  return known.parent !== null && !sharesParent(known, ostId) && sharesParent(brought, ostId);
}
