import { RawstorError } from '../common/errors.js';
import { isOnlyCopy } from '../common/whole-copies.js';
import { type Member, parentOn } from '../protocol/index.js';
import type { Candidate } from './allocate.js';
import { nextEpoch } from './in-sync-sets.js';
import { chooseTarget, mapWith } from './replace.js';
import type { StoredObject } from './stored-object.js';

/**
 * An object without the only complete copy of something: an older copy becomes the newest, or an empty one does. Either
 * is a loss on record. Null where others have all of it.
 * @throws RawstorError NOT_SUPPORTED, UNAVAILABLE, UNSATISFIABLE
 */
export function withoutCopy(
  stored: StoredObject,
  ostId: string,
  osts: readonly Candidate[],
  excluded: (ostId: string) => string | null,
  nowWallMs: number,
): StoredObject | null {
  const { object, session } = stored;
  const { map, name: where } = object;
  if (!isOnlyCopy(object, ostId)) return null;
  const epoch = nextEpoch(object);
  const lossWallMs = stored.lossWallMs ?? nowWallMs;
  // Whoever gave it up knows; a guest that is started on it finds what there is.
  const next = {
    ...stored,
    lossWallMs,
    toldLossEpoch: epoch,
    session: { ...session, epoch, open: false },
    clean: false,
  };
  if (object.replicas > 1 && map.rule !== 'fixed') {
    throw new RawstorError('NOT_SUPPORTED', 'some chunks would be older than others of the same OST', {
      where,
      hint: 'export what can be read, remove the volume and create it anew',
    });
  }
  const others = object.members.filter((member) => member.state === 'stale' && member.ostId !== ostId);
  const older = others.find((member) => osts.some(({ info, alive }) => alive && info.ostId === member.ostId));
  if (older === undefined && others.length > 0 && object.replicas > 1) {
    throw new RawstorError('UNAVAILABLE', `OST ${others[0]!.ostId} has an older copy, and is away`, {
      where,
      hint: 'start it, then try again',
    });
  }
  if (older !== undefined) {
    const lastSeal = Math.min(object.lastSeal, Math.max(0, older.staleSince - 1));
    const members = object.members.map((member): Member => {
      if (member === older) return { ...member, state: 'in-sync', staleSince: 0 };
      const since = member.state === 'stale' ? Math.min(member.staleSince, lastSeal + 1) : lastSeal + 1;
      return { ...member, state: 'stale', staleSince: since };
    });
    return { ...next, object: { ...object, epoch, lastSeal, lossEpoch: epoch, members } };
  }
  const refused = (to: string) =>
    stored.left.includes(to) ? 'has an older copy of it to delete first' : excluded(to);
  const target = chooseTarget(object, { from: ostId, to: null }, osts, refused);
  const members = object.members.map(
    (member): Member =>
      member.ostId === ostId
        ? { ostId: target.ostId, state: 'in-sync', bootId: null, staleSince: 0 }
        : member,
  );
  const newMap = mapWith(object, ostId, target);
  const parent = parentOn(object.parent, newMap);
  const moved = { ...object, epoch, lossEpoch: epoch, members, map: newMap, parent };
  const dropped = stored.wanted === null ? [] : [stored.wanted.to];
  // Where it lives now nothing is to be deleted.
  const left = [...stored.left, ...dropped].filter((id) => id !== target.ostId);
  return { ...next, wanted: null, left, object: moved };
}
