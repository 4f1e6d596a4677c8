import type { World } from './world.js';

/** How the guests of one history work: what was not flushed is what a loss can take. */
export interface Load {
  /** Of all operations. */
  readonly flushes: number;
  /** Of writes. */
  readonly fua: number;
  /** Time between seals while writes flow; a seal flushes too. */
  readonly sealPeriodMs: number;
}

export function newLoad(world: World): Load {
  const kind = world.random.next();
  // Often sealed, so that many seals meet a fault.
  if (kind < 0.6) return { flushes: 0.06, fua: 0.1, sealPeriodMs: 700 };
  if (kind < 0.8) return { flushes: 0.01, fua: 0.01, sealPeriodMs: 4000 };
  return { flushes: 0.02, fua: 0.02, sealPeriodMs: 300 };
}
