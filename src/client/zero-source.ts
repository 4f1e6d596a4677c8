import { mapAnonymous } from '../io/index.js';
import type { Memory } from '../io/memory.js';

/** Length of the shared block of zeros that allocating WRITE_ZEROES send. */
export const ZERO_SOURCE_BYTES = 1024 * 1024;

let zeros: Memory | null = null;

/** One mebibyte of zeros that nobody writes to. */
export function zeroSource(): Memory {
  zeros ??= mapAnonymous(ZERO_SOURCE_BYTES);
  return zeros;
}
