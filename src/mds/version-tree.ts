import { RawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import { everyChunkOn, reachOf } from '../common/whole-copies.js';
import {
  type FileFacts,
  hasTail,
  isNameless,
  type ObjectRecord,
  pendingOf,
  type Snapshot,
  type SnapshotOrigin,
  type VersionChange,
  versionsOver,
} from '../protocol/index.js';
import { validateNewSize } from './validate.js';

/** The versions of an object and how one change makes them others: pure; docs/snapshots.md has the rules. */

/** A clone of a version. */
export interface ChildOf {
  readonly name: string;
  readonly version: number;
}

export interface TreeFacts {
  readonly nowWallMs: number;
  /** Of all versions of the object. */
  readonly children: readonly ChildOf[];
}

type Versions = Pick<
  ObjectRecord,
  | 'headVersion'
  | 'headOver'
  | 'snapshots'
  | 'parent'
  | 'sizeBytes'
  | 'tailBytes'
  | 'reachBytes'
  | 'file'
  | 'encryption'
>;
/** What OSTs can tell apart: one a second for 17 years. */
const VERSION_MAX = 2 ** 29 - 1;

/** @throws RawstorError NOT_FOUND, EXISTS, BUSY, LIMIT, INVALID */
export function changedVersions(object: ObjectRecord, change: VersionChange, facts: TreeFacts): ObjectRecord {
  return { ...object, ...apply(object, change, facts) };
}

function apply(object: ObjectRecord, change: VersionChange, facts: TreeFacts): Partial<Versions> {
  switch (change.kind) {
    case 'snapshot':
      return { ...newHead(object, change.name, facts, change), headOver: object.headVersion };
    case 'sealed': {
      const { pendingName, ...frozen } = pending(object, change.version);
      checkFile(object, change.file ?? null, frozen.sizeBytes);
      const file = change.file === undefined ? {} : { fileBytes: change.file.sizeBytes };
      return replaced(object, { ...frozen, ...file, name: pendingName! });
    }
    case 'abandoned':
      pending(object, change.version);
      return abandoned(object);
    case 'rollback': {
      const to = named(object, change.to);
      const reachBytes = reachOf(object);
      return {
        ...newHead(object, change.keepAs, facts),
        headOver: to.version,
        sizeBytes: to.sizeBytes,
        reachBytes,
        file: fileOf(to, facts.nowWallMs),
      };
    }
    case 'remove':
      return removeName(object, named(object, change.version), facts);
    case 'rename':
      checkFree(object, change.name, change.version);
      return replaced(object, { ...named(object, change.version), name: change.name });
    case 'protect':
      return replaced(object, { ...named(object, change.version), protected: change.protected });
    case 'resize':
      validateNewSize(object, change.sizeBytes);
      checkTrimmed(object);
      checkHeld(object, change.sizeBytes);
      checkFile(object, change.file ?? null, change.sizeBytes);
      // Recorded before anything is erased: what is cut short leaves all of the old or the new size (docs/snapshots.md).
      return {
        sizeBytes: change.sizeBytes,
        tailBytes: object.sizeBytes,
        reachBytes: reachOf(object),
        file: change.file ?? null,
      };
    case 'file':
      checkFile(object, change.file, object.sizeBytes);
      return { file: change.file };
    case 'trimmed':
      return { tailBytes: 0 };
    case 'rekey':
      checkEncrypted(object);
      return { encryption: change.encryption };
    case 'flattened':
      return flattened(object);
    case 'forget':
      return forget(object, change.versions);
  }
}

function checkEncrypted({ encryption, name }: ObjectRecord): void {
  if (encryption !== undefined) return;
  throw new RawstorError('INVALID', 'the volume is not encrypted: it has no key', { where: name });
}

function newHead(
  object: ObjectRecord,
  name: string | null,
  { nowWallMs }: TreeFacts,
  { origin, ahead = false }: { origin?: SnapshotOrigin | undefined; ahead?: boolean | undefined } = {},
): Partial<Versions> {
  const { headVersion, headOver, snapshots, sizeBytes, file, name: where } = object;
  if (name !== null) checkFree(object, name);
  const before = pendingOf(object);
  if (before !== null) {
    throw new RawstorError('BUSY', `the snapshot '${before.pendingName}' is still being taken`, { where });
  }
  // It would stay in a version that is written no more.
  checkTrimmed(object);
  if (snapshots.length >= LIMITS.snapshotsPerVolume) {
    const waiting = snapshots.filter(isNameless).length;
    throw new RawstorError('LIMIT', `it has ${snapshots.length} frozen versions, the most there may be`, {
      where,
      hint: `remove snapshots; ${waiting} that were removed are still being merged`,
    });
  }
  if (headVersion >= VERSION_MAX) {
    throw new RawstorError('LIMIT', 'the versions of this object are used up', { where });
  }
  const frozen: Snapshot = {
    version: headVersion,
    over: headOver,
    name: ahead ? null : name,
    ...(ahead && name !== null ? { pendingName: name } : {}),
    sizeBytes,
    ...(file == null ? {} : { fileBytes: file.sizeBytes }),
    createdWallMs: nowWallMs,
    protected: false,
    ...(origin === undefined ? {} : { origin }),
  };
  return { headVersion: headVersion + 1, snapshots: [...snapshots, frozen] };
}

/** @throws RawstorError NOT_FOUND */
function pending(object: ObjectRecord, version: number): Snapshot {
  const found = pendingOf(object);
  if (found?.version === version) return found;
  throw new RawstorError('NOT_FOUND', `version ${version} is not being frozen`, { where: object.name });
}

/** What was being frozen is no snapshot: its session has ended, or nobody wants it any more. */
export function abandoned({ snapshots }: ObjectRecord): Pick<Versions, 'snapshots'> {
  return { snapshots: snapshots.map(({ pendingName, ...one }) => one) };
}

/** What a snapshot was as a file, which has changed now. */
function fileOf({ fileBytes }: Snapshot, modifiedWallMs: number): Versions['file'] {
  return fileBytes === undefined ? null : { sizeBytes: fileBytes, modifiedWallMs };
}

/** @throws RawstorError INVALID */
function checkFile(object: ObjectRecord, file: FileFacts | null, sizeBytes: number): void {
  if (file === null || file.sizeBytes <= sizeBytes) return;
  throw new RawstorError('INVALID', `a file of ${file.sizeBytes} bytes is longer than the volume`, {
    where: object.name,
  });
}

/** Nobody could write to a new chunk of which all replicas are away. */
function checkHeld(object: ObjectRecord, sizeBytes: number): void {
  const inSync = object.members.filter((member) => member.state === 'in-sync').map(({ ostId }) => ostId);
  if (everyChunkOn({ ...object, sizeBytes }, new Set(inSync))) return;
  throw new RawstorError('BUSY', 'some new chunk would have no replica in sync', {
    where: object.name,
    hint: 'wait until the replicas are in order: `rawstor status`',
  });
}

/** What was cut off would show again. */
function checkTrimmed(object: ObjectRecord): void {
  if (!hasTail(object)) return;
  throw new RawstorError('BUSY', 'what it was made smaller by is still being erased', {
    where: object.name,
    hint: 'try again in a moment',
  });
}

/** A snapshot that still has its name. */
function named(object: ObjectRecord, version: number): Snapshot {
  const found = object.snapshots.find((one) => one.version === version);
  if (found !== undefined && found.name !== null) return found;
  throw new RawstorError('NOT_FOUND', `there is no snapshot with version ${version}`, {
    where: object.name,
    hint: 'it may have been removed: look at `rawstor-volume snapshot ls`',
  });
}

function checkFree({ snapshots, name: where }: ObjectRecord, name: string, of: number | null = null): void {
  const has = (one: Snapshot) => one.name === name || one.pendingName === name;
  if (!snapshots.some((one) => has(one) && one.version !== of)) return;
  throw new RawstorError('EXISTS', `there is a snapshot '${name}' already`, {
    where,
    hint: 'choose another name, or remove that one first',
  });
}

function replaced({ snapshots }: ObjectRecord, changed: Snapshot): Partial<Versions> {
  return { snapshots: snapshots.map((one) => (one.version === changed.version ? changed : one)) };
}

/** Only the name goes: OSTs may have files of the version, which are merged first. */
function removeName(object: ObjectRecord, snapshot: Snapshot, { children }: TreeFacts): Partial<Versions> {
  const where = `${object.name}@${snapshot.name}`;
  if (snapshot.protected) {
    throw new RawstorError('BUSY', 'the snapshot is protected', {
      where,
      hint: `first \`rawstor-volume snapshot unprotect ${where}\``,
    });
  }
  const clones = children.filter((child) => child.version === snapshot.version).map((child) => child.name);
  if (clones.length > 0) {
    const some = clones.slice(0, 5).join(', ');
    throw new RawstorError('BUSY', `${clones.length === 1 ? 'a clone needs' : 'clones need'} it: ${some}`, {
      where,
      hint: `flatten ${clones.length === 1 ? 'it' : 'them'} first: \`rawstor-volume flatten\`, or remove`,
    });
  }
  return replaced(object, { ...snapshot, name: null });
}

function flattened({ parent, snapshots, name: where }: ObjectRecord): Partial<Versions> {
  if (parent === null) throw new RawstorError('NOT_FOUND', 'it is no clone, or not any more', { where });
  if (snapshots.length === 0) return { parent: null };
  const names = snapshots.map((one) => one.name ?? `version ${one.version}, being merged`);
  throw new RawstorError('BUSY', `it has snapshots, which need ${parent.name} too`, {
    where: `${where}: ${names.slice(0, 5).join(', ')}`,
    hint: 'remove them, wait until they are merged, then flatten',
  });
}

function forget(object: ObjectRecord, versions: readonly number[]): Partial<Versions> {
  let { snapshots, headOver } = object;
  // A version lies over lower ones only: from the top, what one of these holds up is looked at after it.
  for (const version of [...new Set(versions)].sort((a, b) => b - a)) {
    const gone = snapshots.find((one) => one.version === version);
    const where = object.name;
    if (gone === undefined) throw new RawstorError('NOT_FOUND', `there is no version ${version}`, { where });
    if (!isNameless(gone)) {
      const name = gone.name ?? gone.pendingName;
      throw new RawstorError('INVALID', `version ${version} is the snapshot '${name}'`, { where });
    }
    const over = versionsOver({ ...object, snapshots, headOver }, version).length;
    if (over > 1) throw new RawstorError('BUSY', `${over} versions lie over version ${version}`, { where });
    snapshots = snapshots
      .filter((one) => one !== gone)
      .map((one) => (one.over === version ? { ...one, over: gone.over } : one));
    if (headOver === version) headOver = gone.over;
  }
  return { snapshots, headOver };
}
