import { RawstorError } from '../common/errors.js';
import type { Params } from '../protocol/index.js';
import { nextEpoch } from './in-sync-sets.js';
import type { NamedChild } from './objects.js';
import type { StoredObject } from './stored-object.js';
import { abandoned } from './version-tree.js';

/**
 * An open names the session before it. Where another came in between, its asker did not know of that one: a process
 * that is dead by now, or one that has asked again. A repair changes nothing that a guest has seen, so one that has run here may come back
 * after it. @throws RawstorError CONFLICT
 */
export function checkNoneSince(
  { session, object }: StoredObject,
  { after, yields }: Params<'mds.open'>,
): void {
  if (after === undefined || after === session.epoch) return;
  if (yields !== true && session.yields && after === session.servedEpoch) return;
  throw new RawstorError('CONFLICT', `'${session.holder}' has opened it since (session ${session.epoch})`, {
    where: object.name,
  });
}

/**
 * Whether the session of an object is that of a guest that may live on although its lease has lapsed: one that is cut off from the MDS
 * alone goes on writing, and only OSTs know. @param unseenSession of which the asker found no writer there
 */
export function mayWrite({ session }: StoredObject, unseenSession: number | undefined): boolean {
  return session.open && !session.yields && session.epoch !== unseenSession;
}

/** Whether another holder has the object as far as the asker is concerned. @param isHeld its lease has not lapsed */
export function isOthers(
  stored: StoredObject,
  { holder, yields, ifClosed, unseenSession }: Params<'mds.open'>,
  isHeld: boolean,
): boolean {
  const { session } = stored;
  const gives = session.yields && yields !== true;
  const leavesAlone = yields === true || ifClosed === true;
  const held = isHeld || (leavesAlone && mayWrite(stored, unseenSession));
  return held && session.holder !== holder && !gives;
}

/** The object as its new writer gets it. */
export function withSession(
  stored: StoredObject,
  { holder, yields = false }: Params<'mds.open'>,
  sinceWallMs: number,
): StoredObject {
  const { object, session: before } = stored;
  const epoch = nextEpoch(object);
  const servedEpoch = before.yields ? before.servedEpoch : before.epoch;
  const session = { epoch, open: true, holder, sinceWallMs, yields, ...(yields ? { servedEpoch } : {}) };
  return { ...stored, clean: false, session, object: { ...object, ...abandoned(object), epoch } };
}

export function busy(stored: StoredObject, what: string): RawstorError {
  const { name } = stored.object;
  const { holder, sinceWallMs } = stored.session;
  const since = new Date(sinceWallMs).toISOString();
  return new RawstorError('BUSY', `'${name}' is open for writing by ${holder} since ${since}`, {
    hint: `close it there, or use --force to ${what}: that writer is then shut out`,
  });
}

/** @throws RawstorError BUSY while a session has not ended, its lease lapsed or not */
export function checkClosed({ session, object }: StoredObject): void {
  if (!session.open) return;
  throw new RawstorError('BUSY', `'${object.name}' was opened by ${session.holder} and is not closed`, {
    where: object.name,
    hint: 'end who uses it; one that was not closed is after `rawstor-volume attach` and `detach`',
  });
}

/** @throws RawstorError BUSY while something of it is still wanted: snapshots, or clones of one */
export function checkNothingOver({ object }: StoredObject, clones: readonly NamedChild[]): void {
  const { name: where, snapshots, mode } = object;
  const listed = (names: readonly string[]) =>
    names.slice(0, 5).join(', ') + (names.length > 5 ? ', ...' : '');
  if (clones.length > 0) {
    throw new RawstorError('BUSY', `there are clones of it: ${listed(clones.map((clone) => clone.name))}`, {
      where,
      hint: 'flatten them first, `rawstor-volume flatten`, or remove them',
    });
  }
  // A sealed object is its snapshot: nobody but its collector removes it.
  if (mode === 'immutable') return;
  const names = snapshots.flatMap((one) => one.name ?? []);
  if (names.length === 0) return;
  throw new RawstorError('BUSY', `it has snapshots: ${listed(names)}`, {
    where,
    hint: 'remove them first: `rawstor-volume snapshot rm`',
  });
}
