import { mkdir, writeFile } from 'node:fs/promises';
import { cpus, loadavg, release } from 'node:os';
import { join } from 'node:path';
import { asRawstorError } from '../src/common/errors.js';
import { runBudget } from './budget/run.js';
import { chart } from './chart.js';
import { KIND_NAMES, specOf } from './kinds.js';
import { type BenchOptions, EXTRAS, optionsOf, USAGE } from './options.js';
import { stopAll } from './process.js';
import { type KindReport, markdown } from './report.js';
import { runKind } from './run-kind.js';

/** Above it the figures are others' as well. */
const QUIET_LOAD = 0.5;

const date = new Date().toISOString().slice(0, 19);

function list(): void {
  for (const kind of KIND_NAMES) {
    console.log(`${kind}: rawstor, ${Object.keys(specOf(kind).peers).join(', ')}`);
    for (const { name } of specOf(kind).cases) console.log(`  ${kind}: ${name}`);
  }
  for (const name of EXTRAS) console.log(`${name}: with --only ${name}`);
}

/** Written anew behind each kind, so that what was measured is there whatever comes next. */
async function write(options: BenchOptions, notes: readonly string[], kinds: readonly KindReport[]) {
  await mkdir(options.out, { recursive: true });
  const base = join(options.out, date.replaceAll(':', ''));
  const text = markdown('Side by side', notes, kinds);
  await writeFile(`${base}.md`, text);
  await writeFile(`${base}.json`, `${JSON.stringify({ date, notes, kinds }, null, 1)}\n`);
  await writeFile(`${base}.svg`, chart('Side by side', kinds));
  return { base, text };
}

/** Of what is no side by side. */
async function writeExtra(
  { out }: BenchOptions,
  name: string,
  notes: readonly string[],
  { text, data }: { text: string; data: unknown },
): Promise<void> {
  await mkdir(out, { recursive: true });
  const base = join(out, `${date.replaceAll(':', '')}-${name}`);
  const whole = `${notes.map((note) => `- ${note}`).join('\n')}\n\n${text}`;
  await writeFile(`${base}.md`, whole);
  await writeFile(`${base}.json`, `${JSON.stringify({ date, notes, ...(data as object) }, null, 1)}\n`);
  console.log(whole);
  console.error(`written: ${base}.md and .json`);
}

async function run(options: BenchOptions): Promise<void> {
  await mkdir(options.dir, { recursive: true });
  const loadBefore = loadavg()[0]!;
  if (loadBefore > QUIET_LOAD) {
    console.error(`the machine is busy (load ${loadBefore.toFixed(1)}): trust ratios at most`);
  }
  const notes = [
    `${date}, ${cpus().length} x ${cpus()[0]?.model ?? 'CPU'}, Linux ${release()}, Node ${process.version}`,
    `load average before: ${loadBefore.toFixed(1)}`,
    'ratio of rates above 1 and ratio of CPU below 1: the first server is better; CPU is that of all processes of a server',
  ];
  const kinds: KindReport[] = [];
  for (const { kind, cases } of options.kinds) {
    const report = await runKind(kind, cases, options).catch((error) => {
      const failure = asRawstorError(error);
      console.error(`${kind}: ${failure.toUserText()}`);
      process.exitCode = failure.exitCode;
      return null;
    });
    if (report === null) continue;
    kinds.push(report);
    await write(options, notes, kinds);
  }
  if (options.extras.includes('budget')) await writeExtra(options, 'budget', notes, await runBudget(options));
  if (kinds.length > 0) {
    const { base, text } = await write(options, notes, kinds);
    console.log(text);
    console.error(`written: ${base}.md, .json and .svg`);
  }
}

async function main(): Promise<void> {
  const options = optionsOf(process.argv.slice(2));
  if (options.mode === 'help') console.log(USAGE);
  else if (options.mode === 'list') list();
  else await run(options);
}

/** The servers end, some with processes of their own below them, and their files go with this process. */
function interrupted(code: number): void {
  void stopAll().then(() => process.exit(code));
}

process.once('SIGINT', () => interrupted(130));
process.once('SIGTERM', () => interrupted(143));
try {
  await main();
} catch (error) {
  const failure = asRawstorError(error);
  console.error(failure.toUserText());
  await stopAll();
  process.exit(failure.exitCode);
}
