import { RawstorError } from './errors.js';
import { LIMITS } from './limits.js';
import { formatSizeBytes, parseSizeBytes } from './units.js';

/** What copies are bound to: a region at a time, so that a lower rate would only make them time out. @throws RawstorError USAGE */
export function parseCopyRate(text: string): number {
  const rate = parseSizeBytes(text);
  const least = LIMITS.recoveryBytesPerSecMin;
  if (rate >= least) return rate;
  throw new RawstorError(
    'USAGE',
    `a rate of '${text}' is too low, the least is ${formatSizeBytes(least)} a second`,
  );
}
