import type { Volume } from '../../client/index.js';
import { RawstorError } from '../../common/errors.js';
import { LIMITS } from '../../common/limits.js';
import type { ObjectInfo } from '../../protocol/index.js';
import { changedRanges } from '../copy/device-pieces.js';
import { type NamedSnapshot, namedSnapshots } from '../snapshots.js';
import { type DifferenceHead, sameSnapshot } from './format.js';
import { identityOf } from './make.js';

/**
 * A mark is a snapshot that is taken before the first change, and goes when all is done: what lies over it is half a difference. So
 * who was killed leaves something that the next one knows to take back.
 */
const MARK_PREFIX = 'applying-';

/** How a volume is, seen from the snapshot that a difference begins at. */
export type Standing = 'at' | 'half-applied' | 'moved';

export function markName(snapshot: string): string {
  return `${MARK_PREFIX}${snapshot}`.slice(0, LIMITS.nameBytes);
}

export function marksOfApplies(object: ObjectInfo): NamedSnapshot[] {
  return namedSnapshots(object).filter(isMark);
}

function isMark({ name, origin }: NamedSnapshot): boolean {
  return name.startsWith(MARK_PREFIX) && origin !== undefined;
}

/**
 * The snapshot of the volume that the difference begins at: a copy of the same one, or, where it is not known what it is a copy of, one
 * of the same name and size.
 * @throws RawstorError NOT_FOUND, INVALID
 */
export function baseOf(object: ObjectInfo, { from }: DifferenceHead): NamedSnapshot {
  const all = namedSnapshots(object).filter((one) => !isMark(one));
  const same = all.find((one) => sameSnapshot(identityOf(object.id, one), from));
  if (same !== undefined) return same;
  const where = `${object.name}@${from.name}`;
  const named = all.find((one) => one.name === from.name);
  if (named === undefined) {
    throw new RawstorError(
      'NOT_FOUND',
      `the volume has no snapshot '${from.name}', where the difference begins`,
      {
        where,
        hint: 'apply those before it first, or begin with a full copy and take that snapshot of it',
      },
    );
  }
  if (named.origin !== undefined || from.objectId === object.id || named.sizeBytes !== from.sizeBytes) {
    throw new RawstorError('INVALID', 'that snapshot is another one than where the difference begins', {
      where,
      hint: `it begins at version ${from.version} of ${from.objectId}, ${from.sizeBytes} bytes`,
    });
  }
  return named;
}

/** @throws RawstorError EXISTS */
export function checkNew(volume: Volume, { to }: DifferenceHead): void {
  const { object } = volume;
  const found = namedSnapshots(object).find((one) => one.name === to.name);
  if (found === undefined) return;
  const where = `${object.name}@${to.name}`;
  if (sameSnapshot(identityOf(object.id, found), to)) {
    const below = volume.marks();
    if (below.some((one) => one.version === found.version)) {
      throw new RawstorError('EXISTS', 'that difference is applied already', { where });
    }
    throw new RawstorError('EXISTS', 'that difference was applied, and the volume rolled back since', {
      where,
      hint: `rawstor-volume snapshot rollback ${where} goes on from there; or remove that snapshot, and apply it again`,
    });
  }
  throw new RawstorError('EXISTS', 'the volume has another snapshot of that name', {
    where,
    hint: 'rename it, or remove it',
  });
}

export async function standingOf(volume: Volume, base: NamedSnapshot): Promise<Standing> {
  const { object } = volume;
  const below = volume.marks();
  const [last, before] = [below.at(-1), below.at(-2)];
  const mark = marksOfApplies(object).find((one) => one.version === last?.version);
  if (mark !== undefined) return before?.version === base.version ? 'half-applied' : 'moved';
  if (last?.version !== base.version || object.sizeBytes !== base.sizeBytes) return 'moved';
  for await (const _ of changedRanges(volume, last)) return 'moved';
  return 'at';
}
