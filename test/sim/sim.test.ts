import { describe, expect, it } from 'vitest';
import { runSeed } from './run.js';

/** Histories of the whole system under faults; `npm run sim -- --help` tells how to run more and to replay one. */

const MINUTES = 60_000;
const LONG = process.env.RAWSTOR_TEST_LONG === '1';
const FIXED_SEEDS = LONG ? 2000 : 120;
const FRESH_SEEDS = 2000;
const STEPS = 1000;

async function run(seeds: readonly number[]): Promise<Record<string, number>> {
  const totals: Record<string, number> = {};
  const failed: string[] = [];
  for (const seed of seeds) {
    const { violation, counts } = await runSeed({ seed, steps: STEPS });
    for (const [name, count] of Object.entries(counts)) totals[name] = (totals[name] ?? 0) + count;
    if (violation !== null) failed.push(`npm run sim -- --seed ${seed} --steps ${STEPS}: ${violation}`);
  }
  expect(failed).toEqual([]);
  return totals;
}

describe('the simulated cluster', () => {
  it(
    'keeps every rule in known histories, and they hold what they are meant to hold',
    async () => {
      const totals = await run(Array.from({ length: FIXED_SEEDS }, (_, i) => i + 1));
      for (const what of ['takeovers', 'losses', 'powerLoss', 'killOst', 'partition', 'callsAskedAgain']) {
        expect(totals[what], what).toBeGreaterThan(FIXED_SEEDS / 4);
      }
    },
    LONG ? 60 * MINUTES : 8 * MINUTES,
  );

  it.runIf(LONG)(
    'keeps every rule in histories never seen before (long)',
    async () => {
      const first = 1_000_000 + Math.floor(Math.random() * 1_000_000_000);
      await run(Array.from({ length: FRESH_SEEDS }, (_, i) => first + i));
    },
    LONG ? 60 * MINUTES : 8 * MINUTES,
  );

  it('is the same history for the same seed', async () => {
    const [once, again] = [await runSeed({ seed: 7, steps: 300 }), await runSeed({ seed: 7, steps: 300 })];
    expect(again).toEqual(once);
    expect((await runSeed({ seed: 8, steps: 300 })).traceHash).not.toBe(once.traceHash);
  });
});
