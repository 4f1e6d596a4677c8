import { describe, expect, it } from 'vitest';
import { flagsOf, type HistoryKind } from './kind.js';
import { runSeed } from './run.js';
import { addCounts } from './seeds.js';

/** Histories of the whole system under faults; docs/simulation.md tells what they prove and how to replay one. */

const MINUTES = 60_000;
const LONG = process.env.RAWSTOR_TEST_LONG === '1';
const FIXED_SEEDS = LONG ? 2000 : 300;
const FRESH_SEEDS = LONG ? 20_000 : 400;
/** At most; a batch that has begun is finished. With the known histories these are less than 4 minutes of one core. */
const FRESH_MS = LONG ? 170 * MINUTES : 90_000;
const BATCH = 20;
const STEPS = 1000;
/** Seeds whose histories have found something; most are other histories by now, which does not make them worse. */
const FOUND = [
  207, 299, 497, 880, 1114, 1157, 1586, 1898, 2045, 2356, 2366, 2373, 4186, 4470, 5_000_106, 700_000_247,
  247_072_611, 247_072_835, 910_001_877, 960_000_357,
];

/** The same of histories with snapshots and clones. */
const SNAPSHOT_FOUND = [110, 1348, 20_010];
/** The same of histories whose guests move. */
const MOVING_FOUND = [16, 25, 29, 174];
const MOVING_SEEDS = Array.from({ length: LONG ? 1000 : 40 }, (_, i) => i + 1);
/** The same of histories whose OSTs are put back from older copies. */
const OLDER_FOUND = [46, 72, 207];
const OLDER_SEEDS = Array.from({ length: LONG ? 1000 : 40 }, (_, i) => i + 1);
/** Some with clones, the first two of which have found that they shared what was older than they. */
const OLDER_CLONES = [793_000_000, 793_000_028, ...Array.from({ length: LONG ? 400 : 8 }, (_, i) => i + 1)];
const SNAPSHOT_SEEDS = Array.from({ length: LONG ? 600 : 30 }, (_, i) => i + 1);

async function run(
  seeds: readonly number[],
  kind: Partial<HistoryKind> = {},
): Promise<Record<string, number>> {
  const totals: Record<string, number> = {};
  const failed: string[] = [];
  for (const seed of seeds) {
    const { violation, counts } = await runSeed({ seed, steps: STEPS, ...kind });
    addCounts(totals, counts);
    const more = flagsOf(kind);
    if (violation !== null)
      failed.push(`npm run sim -- --seed ${seed} --steps ${STEPS}${more}: ${violation}`);
  }
  expect(failed).toEqual([]);
  return totals;
}

describe('the simulated cluster', () => {
  it(
    'keeps every rule in known histories, and they hold what they are meant to hold',
    async () => {
      const totals = await run([...FOUND, ...Array.from({ length: FIXED_SEEDS }, (_, i) => i + 1)]);
      const often = [
        'takeovers',
        'uncleanOpens',
        'drops',
        'joins',
        'seals',
        'losses',
        'lossReported',
        'copies',
        'acknowledgedByTwo',
        'rot',
      ];
      const faults = ['powerLoss', 'killOst', 'partition', 'halfOpen', 'takeoverApart', 'lostSwapAnswers'];
      for (const what of [...often, ...faults, 'callsAskedAgain', 'swapsAskedAgain']) {
        expect(totals[what], what).toBeGreaterThan(FIXED_SEEDS / 2);
      }
      for (const what of ['fenced', 'clockJump', 'ioErrors']) {
        expect(totals[what], what).toBeGreaterThan(FIXED_SEEDS / 50);
      }
      // Few histories have it, and then often.
      expect(totals.noSpace, 'noSpace').toBeGreaterThan(FIXED_SEEDS / 100);
    },
    LONG ? 60 * MINUTES : 8 * MINUTES,
  );

  it(
    'takes exact snapshots through all of it, which are the same on all replicas in the end',
    async () => {
      const totals = await run([...SNAPSHOT_FOUND, ...SNAPSHOT_SEEDS], { snapshots: true });
      for (const what of ['snapshot', 'versionsRead', 'changedAsked']) {
        expect(totals[what], what).toBeGreaterThan(SNAPSHOT_SEEDS.length / 2);
      }
      // A little more than one in two histories has it, and a few of them can have less.
      expect(totals.remove, 'remove').toBeGreaterThan(SNAPSHOT_SEEDS.length / 5);
    },
    LONG ? 60 * MINUTES : 8 * MINUTES,
  );

  it(
    'hands a volume over with its guest through all of it, and to nobody else',
    async () => {
      const totals = await run([...MOVING_FOUND, ...MOVING_SEEDS], { handOvers: true });
      for (const what of ['handOvers', 'standbyReads']) {
        expect(totals[what], what).toBeGreaterThan(MOVING_SEEDS.length);
      }
      for (const what of ['failedMoves', 'movesBack']) {
        expect(totals[what], what).toBeGreaterThan(MOVING_SEEDS.length / 4);
      }
    },
    LONG ? 60 * MINUTES : 8 * MINUTES,
  );

  it(
    'tells an OST that was put back from an older copy, and brings it all again',
    async () => {
      const totals = await run([...OLDER_FOUND, ...OLDER_SEEDS], { olderCopies: true });
      for (const what of ['olderCopies', 'olderStaleCopies']) {
        expect(totals[what], what).toBeGreaterThan(OLDER_SEEDS.length / 4);
      }
    },
    LONG ? 60 * MINUTES : 8 * MINUTES,
  );

  it(
    'tells also what is older than the clones that lie over it',
    async () => {
      const totals = await run(OLDER_CLONES, { snapshots: true, olderCopies: true });
      expect(totals.olderThanClones).toBeGreaterThan(0);
    },
    LONG ? 60 * MINUTES : 8 * MINUTES,
  );

  it(
    'never tells a guest that a block is as it was at a snapshot when it was written since',
    async () => {
      const totals = await run(SNAPSHOT_SEEDS.slice(0, 12), { snapshots: true, asksChanged: true });
      expect(totals.layersAsked).toBeGreaterThan(50);
    },
    8 * MINUTES,
  );

  it(
    'keeps every rule in histories never seen before',
    async () => {
      const first = 1_000_000 + Math.floor(Math.random() * 1_000_000_000);
      const untilMs = performance.now() + FRESH_MS;
      for (let tried = 0; tried < FRESH_SEEDS && performance.now() < untilMs; tried += BATCH) {
        await run(Array.from({ length: BATCH }, (_, i) => first + tried + i));
      }
    },
    FRESH_MS + 5 * MINUTES,
  );

  it('is the same history for the same seed', async () => {
    for (const seed of [7, 8, 9, 10]) {
      const [once, again] = [await runSeed({ seed, steps: 300 }), await runSeed({ seed, steps: 300 })];
      expect(again).toEqual(once);
      expect((await runSeed({ seed: seed + 100, steps: 300 })).traceHash).not.toBe(once.traceHash);
    }
  });
});
