import type { RawstorError } from '../common/errors.js';

/** Another session has the volume now. */
export const isTakenOver = ({ code }: RawstorError): boolean => code === 'FENCED' || code === 'CONFLICT';
