import { isDeepStrictEqual } from 'node:util';
import {
  type Member as MemberRecord,
  type ObjectVersions,
  type StoredSet,
  versionsOf,
} from '../protocol/records.js';
import type { Member } from './member.js';
import type { VolumeState } from './volume-state.js';

export interface Known {
  /** Null when none is newer than the one that the MDS was rebuilt from. */
  readonly set: StoredSet | null;
  /** OSTs that may be in a set that is newer still. */
  readonly joining: ReadonlySet<string>;
}

/**
 * What attached OSTs have stored since the MDS was rebuilt from the set of `rebuiltFrom` (docs/formats-mds.md,
 * Rebuilding). They are fenced by now, so it stays what it is.
 *
 * Whether this is the newest of all is certain once everyone has been asked who is in sync by it or was joining: nothing
 * is acknowledged under a set that its members have not stored, and before one joins all others store that it will.
 */
export function newestStored(members: readonly Member[], rebuiltFrom: number): Known {
  let epoch = rebuiltFrom;
  let set: StoredSet | null = null;
  let joining = new Set<string>();
  for (const { attached, storedSet } of members) {
    if (!attached || storedSet === null || storedSet.epoch < epoch) continue;
    if (storedSet.epoch > epoch) {
      ({ epoch } = storedSet);
      set = storedSet;
      joining = new Set();
    }
    for (const ostId of storedSet.joining ?? []) joining.add(ostId);
  }
  return { set, joining };
}

/** Makes members what a set says of them. */
export function follow(members: readonly Member[], set: readonly MemberRecord[]): void {
  const records = new Map(set.map((record) => [record.ostId, record]));
  for (const member of members) {
    const record = records.get(member.ostId);
    member.inSync = record?.state === 'in-sync';
    member.staleSince = record?.staleSince ?? 0;
    member.recordedBootId = record?.bootId ?? null;
    member.hadKept(record?.keptEpoch ?? 0);
  }
}

/** Makes the versions what OSTs have stored with the newest set; false where the rebuilt MDS knows them. */
export function followVersions(state: VolumeState, versions: ObjectVersions | undefined): boolean {
  if (versions === undefined || isDeepStrictEqual(versionsOf(state.object), versionsOf(versions)))
    return false;
  state.recorded({ ...state.object, ...versionsOf(versions) });
  return true;
}
