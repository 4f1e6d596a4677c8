import { Withdrawn } from '../../block/index.js';
import { RawstorError } from '../../common/errors.js';

/** Why something is not done of a volume that goes from process to process. */

export function frontEndWent(where: string): Withdrawn {
  return new Withdrawn(where);
}

export function waitedFor(where: string): RawstorError {
  return new RawstorError('BUSY', 'another process waits for the volume, and would get it on the way', {
    where,
    hint: 'either a guest is moved or its server replaced: let the one end first',
  });
}

export function writtenElsewhere(where: string): RawstorError {
  return new RawstorError('BUSY', 'another process writes it, only that one knows what has changed', {
    where,
  });
}

/** The same guest cannot go on here too: it knows nothing of what it has done there. */
export function wentOnElsewhere(where: string, cause: RawstorError): RawstorError {
  return new RawstorError('FENCED', `the guest has gone on elsewhere: ${cause.message}`, {
    where,
    hint: 'end the one here; a front-end that connects anew is served',
  });
}

/** A failed read that having the volume would not change. */
export function isFinal({ code }: RawstorError): boolean {
  return code === 'INVALID' || code === 'NOT_FOUND';
}
