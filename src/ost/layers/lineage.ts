import { LIMITS } from '../../common/limits.js';
import {
  heirOf,
  type ObjectRecord,
  overOf,
  pendingOf,
  type Snapshot,
  versionsOver,
} from '../../protocol/index.js';

export { overOf };

/** What lies over what (docs/snapshots.md), from an object's record. */

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

/** Whether the copies of the parent on this OST are the clone's too. */
export function sharesParent(record: ObjectRecord, ostId: string): boolean {
  return record.parent?.ostIds.includes(ostId) ?? false;
}
