import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { documentFile, withSeeds } from './document.js';
import { applyEdit, kindOf, type Mutant } from './mutant.js';
import { Planted } from './planted.js';
import { type Recorded, recordedFile } from './recorded.js';
import { MUTANTS } from './table.js';

/** The simulation has to notice each of these bugs: one that it does not guards nothing. */

const LONG = process.env.RAWSTOR_TEST_LONG === '1';
const FRESH_SEEDS = LONG ? 20_000 : 800;
const BATCH = 20;
const STEPS = 1000;
const recorded = JSON.parse(readFileSync(recordedFile, 'utf8')) as Record<string, Recorded>;
/** Those without a seed on record, as docs/simulation.md says; looked for in the long run only. */
const UNCAUGHT = MUTANTS.filter(({ name }) => recorded[name] === undefined);

let sound: Planted;
beforeAll(async () => {
  sound = await Planted.plant({ name: 'none', edits: [] });
});
afterAll(() => sound.remove());

/** Fails with the bug and passes without it. */
async function caught(planted: Planted, from: number, count: number, mutant: Mutant): Promise<boolean> {
  const kind = kindOf(mutant);
  const found = await planted.firstCatch({ from, count, steps: STEPS, ...kind });
  if (found === null) return false;
  return (await sound.firstCatch({ from: found.seed, count: 1, steps: STEPS, ...kind })) === null;
}

async function seek(mutant: Mutant): Promise<void> {
  const planted = await Planted.plant(mutant);
  try {
    const known = recorded[mutant.name];
    if (known !== undefined && (await caught(planted, known.seed, 1, mutant))) return;
    const first = 1_000_000 + Math.floor(Math.random() * 1_000_000_000);
    for (let tried = 0; tried < FRESH_SEEDS; tried += BATCH) {
      if (await caught(planted, first + tried, BATCH, mutant)) return;
    }
    expect.fail(`not caught by the recorded seed nor by ${FRESH_SEEDS} from ${first} on`);
  } finally {
    await planted.remove();
  }
}

describe('a planted bug is caught', () => {
  it.each(MUTANTS.filter((one) => !UNCAUGHT.includes(one)))('$name', seek, LONG ? 7_200_000 : 480_000);
  // A search among fresh seeds, as long as none is recorded, takes longer than CI has.
  it.skipIf(!LONG).each(UNCAUGHT)('$name (long)', seek, 7_200_000);
});

describe('the table of planted bugs', () => {
  it('is all in the document', () => {
    const document = readFileSync(documentFile, 'utf8');
    expect(MUTANTS.filter(({ name }) => !document.includes(`| ${name} |`))).toEqual([]);
    expect(withSeeds(document, recorded), 'npm run sim:mutants -- --stale --record').toBe(document);
    expect(Object.keys(recorded).filter((name) => !MUTANTS.some((one) => one.name === name))).toEqual([]);
  });

  it('fits the sources: also where a bug is not looked for', () => {
    for (const { name, edits } of MUTANTS) {
      const changed = new Map<string, string>();
      for (const edit of edits) {
        const path = new URL(`../../../src/${edit.file}`, import.meta.url);
        const before = changed.get(edit.file) ?? readFileSync(path, 'utf8');
        changed.set(edit.file, applyEdit(before, edit, name));
      }
    }
  });

  it('refuses text that is gone, and text that is there twice', () => {
    const edit = { file: 'a.ts', from: 'x', to: 'y' };
    expect(applyEdit('axb', edit, 'm')).toBe('ayb');
    expect(() => applyEdit('ab', edit, 'm')).toThrow(/0 places in src\/a.ts/);
    expect(() => applyEdit('xx', edit, 'm')).toThrow(/2 places/);
  });
});
