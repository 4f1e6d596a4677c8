import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { applyEdit } from './mutant.js';
import { Planted } from './planted.js';
import { type Recorded, recordedFile } from './recorded.js';
import { MUTANTS } from './table.js';

/** The simulation has to notice each of these bugs: one that it does not guards nothing. */

const LONG = process.env.RAWSTOR_TEST_LONG === '1';
const FRESH_SEEDS = LONG ? 20_000 : 200;
const BATCH = 20;
const STEPS = 1000;
const recorded = JSON.parse(readFileSync(recordedFile, 'utf8')) as Record<string, Recorded>;

describe('a planted bug is caught', () => {
  it.each(MUTANTS)(
    '$name',
    async (mutant) => {
      const planted = await Planted.plant(mutant);
      try {
        const known = recorded[mutant.name];
        if (known !== undefined) {
          const found = await planted.firstCatch({ from: known.seed, count: 1, steps: STEPS });
          if (found !== null) return;
        }
        const first = 1_000_000 + Math.floor(Math.random() * 1_000_000_000);
        for (let tried = 0; tried < FRESH_SEEDS; tried += BATCH) {
          if ((await planted.firstCatch({ from: first + tried, count: BATCH, steps: STEPS })) !== null)
            return;
        }
        expect.fail(`not caught by the recorded seed nor by ${FRESH_SEEDS} from ${first} on`);
      } finally {
        await planted.remove();
      }
    },
    LONG ? 7_200_000 : 180_000,
  );
});

describe('the table of planted bugs', () => {
  it('is caught for the bugs only: a copy without one passes', async () => {
    const sound = await Planted.plant({ name: 'none', edits: [] });
    try {
      expect(await sound.firstCatch({ from: 1, count: BATCH, steps: STEPS })).toBeNull();
    } finally {
      await sound.remove();
    }
  }, 180_000);

  it('has the seed that caught each, and is in the document', () => {
    const document = readFileSync(new URL('../../../docs/simulation.md', import.meta.url), 'utf8');
    expect(MUTANTS.filter(({ name }) => recorded[name] === undefined)).toEqual([]);
    expect(MUTANTS.filter(({ name }) => !document.includes(`| ${name} |`))).toEqual([]);
    expect(Object.keys(recorded).filter((name) => !MUTANTS.some((one) => one.name === name))).toEqual([]);
  });

  it('refuses text that is gone, and text that is there twice', () => {
    const edit = { file: 'a.ts', from: 'x', to: 'y' };
    expect(applyEdit('axb', edit, 'm')).toBe('ayb');
    expect(() => applyEdit('ab', edit, 'm')).toThrow(/0 places in src\/a.ts/);
    expect(() => applyEdit('xx', edit, 'm')).toThrow(/2 places/);
  });
});
