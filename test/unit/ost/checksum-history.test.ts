import { expect, test } from 'vitest';
import { outsideReactions } from '../../sim/world.js';
import { ChecksumHistory } from './checksum-history.js';

const SEEDS = Number(process.env.RAWSTOR_CHECKSUM_SEEDS ?? 60);
const FROM = Number(process.env.RAWSTOR_CHECKSUM_FROM ?? 1);
const STEPS = 250;

test('over writes, seals, crashes and flipped bits: no false alarm, and no bit goes unseen', {
  timeout: 280_000,
}, async () => {
  const counts: Record<string, number> = {};
  for (let seed = FROM; seed < FROM + SEEDS; seed++) {
    const history = new ChecksumHistory(seed);
    try {
      await outsideReactions(() => history.run(STEPS));
    } catch (error) {
      throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error });
    }
    for (const [what, count] of Object.entries(history.counts)) counts[what] = (counts[what] ?? 0) + count;
  }
  for (const what of ['changes', 'reads', 'seals', 'flips', 'found', 'scrubs', 'kills', 'power losses']) {
    expect(counts[what], what).toBeGreaterThan(SEEDS / 2);
  }
  // Rarer: a block known to be bad is written in part, or is found on record after a crash.
  for (const what of ['written in part', 'on record']) {
    expect(counts[what], what).toBeGreaterThan(SEEDS / 30);
  }
});
