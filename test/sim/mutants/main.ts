import { readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { documentFile, withSeeds } from './document.js';
import { type Kind, kindOf } from './mutant.js';
import { Planted } from './planted.js';
import { type Recorded, recordedFile } from './recorded.js';
import { MUTANTS } from './table.js';

/** `npm run sim:mutants`: looks for the first seed that catches each mutant. */
const { values } = parseArgs({
  options: {
    only: { type: 'string', default: '' },
    seeds: { type: 'string', default: '2000' },
    from: { type: 'string', default: '1' },
    jobs: { type: 'string', default: '1' },
    record: { type: 'boolean', default: false },
    stale: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) {
  process.stdout.write(
    'npm run sim:mutants -- [--only TEXT] [--from N] [--seeds LIMIT] [--jobs PROCESSES] [--record] [--stale]\n' +
      'Plants each bug in a copy of the sources and runs seeds until one breaks a rule; --record keeps the seed, here and in docs/simulation.md.\n' +
      '--stale looks only for those that their seed on record does not catch any more.\n',
  );
  process.exit(0);
}

const STEPS = 1000;
const BATCH = 20;
const from = Number(values.from);
const limit = Number(values.seeds);
const recorded = JSON.parse(readFileSync(recordedFile, 'utf8')) as Record<string, Recorded>;
const queue = MUTANTS.filter(({ name }) => name.includes(values.only));
let missed = 0;

const sound = await Planted.plant({ name: 'none', edits: [] });

let turn: Promise<unknown> = Promise.resolve();
function passes(seed: number, kind: Kind): Promise<boolean> {
  const mine = turn.then(() => sound.firstCatch({ from: seed, count: 1, steps: STEPS, ...kind }));
  turn = mine;
  return mine.then((found) => found === null);
}

/** Also true of those that have no seed. */
async function stillCaught(planted: Planted, name: string, kind: Kind): Promise<boolean> {
  const known = recorded[name];
  if (known === undefined) return true;
  const began = performance.now();
  const found = await planted.firstCatch({ from: known.seed, count: 1, steps: STEPS, ...kind });
  const caught = found !== null && (await passes(found.seed, kind));
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  process.stdout.write(`${caught ? 'caught' : 'STALE'} ${name} | seed ${known.seed} | ${seconds} s\n`);
  return caught;
}

async function work(): Promise<void> {
  for (let mutant = queue.shift(); mutant !== undefined; mutant = queue.shift()) {
    const planted = await Planted.plant(mutant);
    const kind = kindOf(mutant);
    try {
      if (values.stale && (await stillCaught(planted, mutant.name, kind))) continue;
      let tried = 0;
      let found = null;
      while (found === null && tried < limit) {
        const count = Math.min(BATCH, limit - tried);
        found = await planted.firstCatch({ from: from + tried, count, steps: STEPS, ...kind });
        tried = found === null ? tried + count : found.seed - from + 1;
        // What fails without the bug as well is no catch.
        if (found !== null && !(await passes(found.seed, kind))) found = null;
      }
      if (found === null) {
        missed++;
        process.stdout.write(`MISSED ${mutant.name} after ${tried}\n`);
        continue;
      }
      const after = found.seed - from + 1;
      process.stdout.write(`${mutant.name} | seed ${found.seed} | after ${after} | ${found.violation}\n`);
      recorded[mutant.name] = { seed: found.seed, after, violation: found.violation };
      if (values.record) keep();
    } finally {
      await planted.remove();
    }
  }
}

await Promise.all(Array.from({ length: Number(values.jobs) }, work));
await sound.remove();

/** In the order of the table; after each catch, so that a run that is cut short has kept what it found. */
function keep(): void {
  const sorted = Object.fromEntries(
    MUTANTS.flatMap(({ name }) => (recorded[name] === undefined ? [] : [[name, recorded[name]]])),
  );
  writeFileSync(recordedFile, `${JSON.stringify(sorted, null, 2)}\n`);
  writeFileSync(documentFile, withSeeds(readFileSync(documentFile, 'utf8'), sorted));
}
process.exitCode = missed === 0 ? 0 : 1;
