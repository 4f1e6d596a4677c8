import { GiB } from '../common/units.js';

/** When an open volume is sealed. */
export interface SealTimes {
  /** After so long without a write. */
  readonly idleMs: number;
  /** While writes flow: after the oldest write that is not sealed is so old. */
  readonly periodMs: number;
  /** Not sooner after the seal before, whatever there is to seal. */
  readonly leastMs: number;
  /** From so much on that would have to be reconciled after a crash. */
  readonly bytes: number;
}

export const DEFAULT_SEAL_TIMES: SealTimes = {
  idleMs: 5_000,
  periodMs: 30_000,
  leastMs: 10_000,
  bytes: 64 * GiB,
};

/** What is known of a volume that has something to seal. */
export interface SealFacts {
  readonly sinceWriteMs: number;
  readonly sinceOldestMs: number;
  readonly sinceSealMs: number;
  readonly unsealedBytes: number;
  /** A guest's flush has just made everything durable, and nothing is in flight: a seal costs no flush. */
  readonly flushed: boolean;
}

export function sealDue(times: SealTimes, facts: SealFacts): boolean {
  if (facts.sinceWriteMs > times.idleMs) return true;
  if (facts.sinceSealMs < times.leastMs) return false;
  return facts.flushed || facts.sinceOldestMs >= times.periodMs || facts.unsealedBytes >= times.bytes;
}
