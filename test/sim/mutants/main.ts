import { readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
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
    help: { type: 'boolean', default: false },
  },
});
if (values.help) {
  process.stdout.write(
    'npm run sim:mutants -- [--only TEXT] [--from N] [--seeds LIMIT] [--jobs PROCESSES] [--record]\n' +
      'Plants each bug in a copy of the sources and runs seeds until one breaks a rule; --record keeps the seed.\n',
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

async function work(): Promise<void> {
  for (let mutant = queue.shift(); mutant !== undefined; mutant = queue.shift()) {
    const planted = await Planted.plant(mutant);
    const kind = kindOf(mutant);
    try {
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
}
process.exitCode = missed === 0 ? 0 : 1;
