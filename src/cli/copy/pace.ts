import type { Clock } from '../../common/clock.js';
import { Pace } from '../../common/pace.js';
import { parseCopyRate } from '../../common/rates.js';
import type { OptionSpec } from '../command.js';

export const COPY_RATE_OPTION: OptionSpec = {
  flags: '--rate <size>',
  help: 'copy at most this much a second; zeros cost nothing',
  parse: parseCopyRate,
};

/** What bounds a copy; empty where nothing does. */
export function paceOf(
  clock: Clock,
  bytesPerSec: number | undefined,
): { pace?: (bytes: number) => Promise<void> } {
  if (bytesPerSec === undefined) return {};
  const pace = new Pace(clock, bytesPerSec);
  return { pace: (bytes) => pace.take(bytes) };
}
