import { RawstorError } from '../common/errors.js';
import type { StoredObject } from './stored-object.js';

/**
 * An open names the session before it. Where another came in between, its asker did not know of that one: a process
 * that is dead by now, or one that has asked again. @throws RawstorError CONFLICT
 */
export function checkNoneSince({ session, object }: StoredObject, after: number | undefined): void {
  if (after === undefined || after === session.epoch) return;
  throw new RawstorError('CONFLICT', `'${session.holder}' has opened it since (session ${session.epoch})`, {
    where: object.name,
  });
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
