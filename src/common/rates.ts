import { RawstorError } from './errors.js';
import { LIMITS } from './limits.js';
import { formatSizeBytes, parseSizeBytes } from './units.js';

/** Rates that people give, in bytes a second. */

/** What copies are bound to: a region at a time, so that a lower rate would only make them time out. @throws RawstorError USAGE */
export function parseCopyRate(text: string): number {
  return atLeast(LIMITS.recoveryBytesPerSecMin, text);
}

/** What a scrub reads at most. @throws RawstorError USAGE */
export function parseScrubRate(text: string): number {
  return atLeast(LIMITS.scrubBytesPerSecMin, text);
}

/** The same, or 0 for no scrub at all. @throws RawstorError USAGE */
export function parseScrubRateOrNone(text: string): number {
  return parseSizeBytes(text) === 0 ? 0 : parseScrubRate(text);
}

function atLeast(least: number, text: string): number {
  const rate = parseSizeBytes(text);
  if (rate >= least) return rate;
  const told = formatSizeBytes(least);
  throw new RawstorError('USAGE', `a rate of '${text}' is too low, the least is ${told} a second`);
}
