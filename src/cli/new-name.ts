import { RawstorError } from '../common/errors.js';
import { isId } from '../common/ids.js';
import { LIMITS } from '../common/limits.js';
import { nameSchema } from '../protocol/index.js';

/** Ends the name of a volume that is being imported. No other has one of these: what has is taken for a left-over. */
export const PARTIAL = '.rawstor-partial';

/** What a person may call a volume. @throws RawstorError USAGE */
export function checkNewName(name: string): void {
  if (!nameSchema.safeParse(name).success) {
    throw new RawstorError('USAGE', `'${name}' is not a volume name`, {
      hint: `letters, digits and _ . : + -, at most ${LIMITS.nameBytes}, a letter, digit or _ first`,
    });
  }
  if (isId(name)) {
    throw new RawstorError('USAGE', 'a name must not look like an id', {
      where: name,
      hint: 'choose another',
    });
  }
  if (name.endsWith(PARTIAL)) {
    throw new RawstorError('USAGE', `names that end in ${PARTIAL} are for imports under way`, {
      where: name,
      hint: 'choose another',
    });
  }
}
