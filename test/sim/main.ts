import { parseArgs } from 'node:util';
import { runSeed } from './run.js';

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    seeds: { type: 'string', default: '100' },
    from: { type: 'string', default: '1' },
    steps: { type: 'string', default: '1000' },
    trace: { type: 'boolean', default: false },
    keep: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

if (values.help) {
  process.stdout.write(
    'npm run sim -- [--from N] [--seeds COUNT] [--steps OPERATIONS] [--keep]   many histories; --keep: past failures\n' +
      'npm run sim -- --seed N [--steps OPERATIONS] [--trace]                    one, event by event\n',
  );
  process.exit(0);
}

// Errors are an everyday thing here, and their stacks are costly.
Error.stackTraceLimit = values.trace ? 10 : 0;
const steps = Number(values.steps);
const from = Number(values.seed ?? values.from);
const count = values.seed === undefined ? Number(values.seeds) : 1;
const totals: Record<string, number> = {};
let failed = 0;
const startedMs = performance.now();
for (let seed = from; seed < from + count; seed++) {
  if (process.env.SIM_PROGRESS) process.stderr.write(`${seed} ${process.memoryUsage().heapUsed >> 20}\n`);
  const onTrace = values.trace ? (line: string) => process.stdout.write(`${line}\n`) : undefined;
  const result = await runSeed({ seed, steps, ...(onTrace === undefined ? {} : { onTrace }) });
  for (const [name, times] of Object.entries(result.counts)) totals[name] = (totals[name] ?? 0) + times;
  if (result.violation === null) continue;
  failed++;
  process.stdout.write(
    `seed ${seed}: ${result.violation}\n  npm run sim -- --seed ${seed} --steps ${steps} --trace\n`,
  );
  if (!values.keep && failed >= 5) break;
}
const seconds = (performance.now() - startedMs) / 1000;
process.stdout.write(
  `${JSON.stringify({ count, failed, seconds: Number(seconds.toFixed(1)), ...totals })}\n`,
);
process.exitCode = failed === 0 ? 0 : 1;
