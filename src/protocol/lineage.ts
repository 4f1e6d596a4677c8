import type { ObjectRecord } from './records.js';
import { isNameless, versionsOver } from './version-messages.js';

/** Which versions of an object stay, and what becomes of those that do not (docs/snapshots.md), from its record. */

/** The version of the same object that this one lies over, 0 for none. */
export function overOf(record: ObjectRecord, version: number): number {
  if (version === record.headVersion) return record.headOver;
  return record.snapshots.find((one) => one.version === version)?.over ?? 0;
}

/**
 * Where the data of a nameless version goes: the version over it, or, where that one is going too, the one that its data goes to. 0: nobody needs
 * it; null: several do, it stays.
 */
export function heirOf(record: ObjectRecord, version: number): number | null {
  for (let at = version; ; ) {
    const over = versionsOver(record, at);
    if (over.length > 1) return at === version ? null : at;
    if (over.length === 0) return 0;
    at = over[0]!;
    if (at === record.headVersion || record.snapshots.some((one) => one.version === at && !isNameless(one))) {
      return at;
    }
  }
}

/** Removed snapshots whose data may still be here: oldest first. */
export function namelessVersions(record: ObjectRecord): number[] {
  const nameless = record.snapshots.filter(isNameless);
  return nameless.map((one) => one.version).sort((a, b) => a - b);
}

/** Versions that stay, oldest first, without the head: others are parts of these, merged already or not yet. */
export function lastingVersions(record: ObjectRecord): number[] {
  const lasting = record.snapshots.filter((one) => !isNameless(one) || heirOf(record, one.version) === null);
  return lasting.map((one) => one.version).sort((a, b) => a - b);
}

/** Versions whose data goes to this one, oldest first. */
export function legaciesOf(record: ObjectRecord, version: number): number[] {
  return namelessVersions(record).filter((one) => heirOf(record, one) === version);
}

/** The next version below that stays; 0: none of this object. */
export function lastingBelow(record: ObjectRecord, version: number): number {
  const lasting = new Set(lastingVersions(record));
  let below = overOf(record, version);
  while (below !== 0 && !lasting.has(below)) below = overOf(record, below);
  return below;
}

/**
 * Frozen versions of which replicas may hold a region differently, oldest first.
 * @param told what each replica answers to `ost.regionVersions` @param since of changes; 0: ever
 */
export function differingVersions(
  record: ObjectRecord,
  told: readonly (readonly number[])[],
  since: number,
): number[] {
  const newer = new Set<number>();
  for (const epochs of told) {
    for (let i = 0; i < epochs.length; i += 2) if (epochs[i + 1]! >= since) newer.add(epochs[i]!);
  }
  return lastingVersions(record).filter((version) => {
    // A clone's oldest version has, besides its own, what shows of the parent.
    const ofParent = since === 0 && record.parent !== null && lastingBelow(record, version) === 0;
    return ofParent || newer.has(version) || legaciesOf(record, version).some((one) => newer.has(one));
  });
}
