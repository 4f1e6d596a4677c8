import { KiB } from '../../common/units.js';

const GRAIN_BYTES = 4 * KiB;
const ZEROES = Buffer.alloc(GRAIN_BYTES);

export interface Run {
  readonly from: number;
  readonly to: number;
  readonly zero: boolean;
}

/** Cuts bytes into runs that are all zero and runs that are not, at 4 KiB. */
export function zeroRuns(bytes: Buffer): Run[] {
  const runs: Run[] = [];
  for (let from = 0; from < bytes.length; from += GRAIN_BYTES) {
    const to = Math.min(from + GRAIN_BYTES, bytes.length);
    const zero = bytes.compare(ZEROES, 0, to - from, from, to) === 0;
    const last = runs.at(-1);
    if (last !== undefined && last.zero === zero) runs[runs.length - 1] = { ...last, to };
    else runs.push({ from, to, zero });
  }
  return runs;
}
