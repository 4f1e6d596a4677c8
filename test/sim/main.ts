import { fork } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { flagsOf, type HistoryKind } from './kind.js';
import { runSeed } from './run.js';
import { addCounts, type Batch, runBatch } from './seeds.js';

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    seeds: { type: 'string', default: '100' },
    hours: { type: 'string' },
    from: { type: 'string', default: '1' },
    steps: { type: 'string', default: '1000' },
    jobs: { type: 'string', default: '1' },
    snapshots: { type: 'boolean', default: false },
    changed: { type: 'boolean', default: false },
    'hand-overs': { type: 'boolean', default: false },
    'older-copies': { type: 'boolean', default: false },
    trace: { type: 'boolean', default: false },
    keep: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

if (values.help) {
  process.stdout.write(
    'npm run sim -- [--from N] [--seeds COUNT | --hours H] [--steps OPERATIONS] [--jobs PROCESSES | --jobs all]\n' +
      '               [--keep] [--snapshots [--changed] | --hand-overs] [--older-copies]    many histories; --keep goes on after five that fail\n' +
      'npm run sim -- --seed N [--steps OPERATIONS] [--snapshots [--changed] | --hand-overs] [--older-copies] [--trace]      one, event by event\n',
  );
  process.exit(0);
}

const steps = Number(values.steps);
const kind: HistoryKind = {
  snapshots: values.snapshots,
  asksChanged: values.changed,
  handOvers: values['hand-overs'],
  olderCopies: values['older-copies'],
};
const more = flagsOf(kind);
const out = (text: string) => process.stdout.write(`${text}\n`);

async function one(seed: number): Promise<boolean> {
  const result = await runSeed({ seed, steps, ...kind, ...(values.trace ? { onTrace: out } : {}) });
  const { violation, ...rest } = result;
  if (violation !== null) out(`seed ${seed}: ${violation}`);
  out(JSON.stringify(rest));
  return violation === null;
}

/** Seeds in batches over the processes, until there are enough, the time is over or too many fail. */
async function many(): Promise<boolean> {
  const startedMs = performance.now();
  const untilMs = values.hours === undefined ? null : startedMs + Number(values.hours) * 3_600_000;
  const total = untilMs === null ? Number(values.seeds) : Number.POSITIVE_INFINITY;
  const jobs = values.jobs === 'all' ? availableParallelism() : Number(values.jobs);
  const perBatch = Math.max(1, Math.min(50, Math.ceil(total / jobs)));
  const counts: Record<string, number> = {};
  let given = 0;
  let count = 0;
  let failed = 0;
  const next = (): Batch | null => {
    if (given >= total || (untilMs !== null && performance.now() >= untilMs)) return null;
    if (failed >= 5 && !values.keep) return null;
    const from = Number(values.from) + given;
    const size = Math.min(perBatch, total - given);
    given += size;
    return { from, count: size, steps, ...kind };
  };
  const work = async (run: (batch: Batch) => ReturnType<typeof runBatch>) => {
    for (let batch = next(); batch !== null; batch = next()) {
      const done = await run(batch);
      count += done.count;
      failed += done.failures.length;
      addCounts(counts, done.counts);
      for (const { seed, violation } of done.failures) {
        out(`seed ${seed}: ${violation}\n  npm run sim -- --seed ${seed} --steps ${steps}${more} --trace`);
      }
    }
  };
  if (jobs === 1) await work(runBatch);
  else await Promise.all(Array.from({ length: jobs }, () => inProcess(work)));
  const seconds = Number(((performance.now() - startedMs) / 1000).toFixed(1));
  const sorted = Object.fromEntries(Object.entries(counts).sort(([a], [b]) => a.localeCompare(b)));
  out(JSON.stringify({ count, failed, seconds, ...sorted }));
  return failed === 0;
}

async function inProcess(work: (run: (batch: Batch) => ReturnType<typeof runBatch>) => Promise<void>) {
  const child = fork(fileURLToPath(new URL('./worker.ts', import.meta.url)), { execArgv: process.execArgv });
  try {
    await work(
      (batch) =>
        new Promise((resolve, reject) => {
          child.once('message', (done) => resolve(done as Awaited<ReturnType<typeof runBatch>>));
          child.once('exit', (code) => reject(new Error(`a process of the simulation ended with ${code}`)));
          child.send(batch);
        }),
    );
  } finally {
    child.removeAllListeners('exit');
    child.disconnect();
  }
}

const good = values.seed === undefined ? await many() : await one(Number(values.seed));
process.exitCode = good ? 0 : 1;
