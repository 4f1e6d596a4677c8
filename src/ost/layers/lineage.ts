import { LIMITS } from '../../common/limits.js';
import {
  isNameless,
  type ObjectRecord,
  pendingOf,
  type Snapshot,
  versionsOver,
} from '../../protocol/index.js';

/** What lies over what (docs/snapshots.md), from an object's record. */

/** The version of the same object that this one lies over, 0 for none. */
export function overOf(record: ObjectRecord, version: number): number {
  if (version === record.headVersion) return record.headOver;
  return record.snapshots.find((one) => one.version === version)?.over ?? 0;
}

/** Whether the object has this version, named or not. */
export function hasVersion(record: ObjectRecord, version: number): boolean {
  return version === record.headVersion || record.snapshots.some((one) => one.version === version);
}

/** The head, and until its seal the one below that is being frozen. */
export function isWritten(record: ObjectRecord, version: number): boolean {
  return version === record.headVersion || version === pendingOf(record)?.version;
}

/** Bytes of the volume that a version may have something of. */
export function sizeOfVersion(record: ObjectRecord, version: number): number {
  if (version === record.headVersion) return record.sizeBytes;
  return record.snapshots.find((one) => one.version === version)?.sizeBytes ?? 0;
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

/** A version and those over it that are merged before its data is where it goes: what lies over one of these sees it no more then. */
export function passedVersions(record: ObjectRecord, version: number): number[] {
  const passed: number[] = [];
  const heir = heirOf(record, version);
  if (heir === null) return passed;
  for (let at = version; at !== heir && at !== 0; at = versionsOver(record, at)[0] ?? 0) passed.push(at);
  return passed;
}

/** A newer record, with what it has forgotten of these versions and of those below them: without names. */
export function withNeeded(
  known: ObjectRecord,
  brought: ObjectRecord,
  needed: readonly number[],
): ObjectRecord {
  const kept = new Map<number, Snapshot>();
  for (const version of needed) {
    for (let at = version; at !== 0 && !hasVersion(brought, at) && !kept.has(at); at = overOf(known, at)) {
      const entry = known.snapshots.find((one) => one.version === at);
      if (entry === undefined) break;
      const { pendingName: _, ...frozen } = entry;
      kept.set(at, { ...frozen, name: null });
    }
  }
  const snapshots = [...brought.snapshots, ...kept.values()].sort((a, b) => a.version - b.version);
  if (kept.size === 0 || snapshots.length > LIMITS.snapshotsPerVolume) return brought;
  return { ...brought, snapshots };
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

/** Whether the copies of the parent on this OST are the clone's too. */
export function sharesParent(record: ObjectRecord, ostId: string): boolean {
  return record.parent?.ostIds.includes(ostId) ?? false;
}
