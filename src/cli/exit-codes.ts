import { ERROR_CODES } from '../common/errors.js';

/** What verbs exit with that have done what they could, by the codes of errors. */
export const EXIT = {
  USAGE: ERROR_CODES.USAGE.exit,
  /** Something is left to do: a server is away, or somebody has it. */
  AGAIN: ERROR_CODES.BUSY.exit,
  /** A placement cannot be had. */
  UNSATISFIABLE: ERROR_CODES.UNSATISFIABLE.exit,
  /** Something is not what was written. */
  DAMAGED: ERROR_CODES.CHECKSUM.exit,
} as const;
