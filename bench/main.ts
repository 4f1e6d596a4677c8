import { rmSync } from 'node:fs';
import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { cpus, loadavg, release } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { CASES } from './cases.js';
import { fill } from './load.js';
import { type Kind, PEERS } from './peers/index.js';
import { startRawstor } from './rawstor.js';
import { type CaseResult, markdown, runCase } from './report.js';
import { estimateMinutes, type Settings, settingsOf } from './settings.js';
import type { Case, StartSubject, Subject } from './types.js';

const USAGE = `usage: npm run bench -- [--quick] [--only TEXT]... [--peer NAME]... [--kind local|replicated3]
                        [--subject rawstor|PEER] [--size MIB] [--rounds N] [--seconds N] [--dir FOLDER]
                        [--baseline FOLDER] [--list]

  --only TEXT        only the cases whose name has TEXT in it
  --peer NAME        only these peers, see --list; none for no peer
  --subject NAME     what the peers are held against: rawstor, or another peer
  --baseline FOLDER  another checkout of this project, compiled, as one more peer (local only)
  --dir FOLDER       on the disk to measure (default .cache/bench)
  --quick            2 s a run and 256 MiB: to see a direction
  --list             the peers and cases there are

  Without --quick: local 1 GiB, 5 rounds of 8 s; replicated3 16 GiB, 3 rounds, a minute for each random case.

  npm run bench -- --quick --only q32
  npm run bench -- --kind replicated3 --rounds 7
  npm run bench -- --kind local --baseline ../rawstor-before --peer none --only q32
`;
const ROOT = fileURLToPath(new URL('..', import.meta.url));
const SERVER_CPU = 0;
const LOAD_CPU = 1;
/** Above it the figures are others' as well. */
const QUIET_LOAD = 0.5;

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string', multiple: true },
    peer: { type: 'string', multiple: true },
    kind: { type: 'string' },
    baseline: { type: 'string' },
    subject: { type: 'string', default: 'rawstor' },
    size: { type: 'string' },
    rounds: { type: 'string' },
    seconds: { type: 'string' },
    dir: { type: 'string', default: join(ROOT, '.cache/bench') },
    list: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

function count(name: 'size' | 'rounds' | 'seconds'): number | undefined {
  const text = values[name];
  if (text === undefined) return undefined;
  const number = Number(text);
  if (number > 0) return number;
  console.error(`--${name} '${text}' is no number above 0\n\n${USAGE}`);
  process.exit(64);
}

/** Brings all sides of a kind up, prepares them alike, and runs every case. */
async function runKind(
  kind: Kind,
  starters: readonly StartSubject[],
  cases: readonly Case[],
  plan: Settings,
) {
  // One server against another: each side has a CPU. A cluster of processes has both, beside the load.
  const pinned = kind === 'local' && cpus().length > LOAD_CPU;
  const scratch = await mkdtemp(join(plan.dir, `${kind}-`));
  const removeScratch = () => rmSync(scratch, { recursive: true, force: true });
  process.once('exit', removeScratch);
  const subjects: Subject[] = [];
  const results: CaseResult[] = [];
  const minutes = estimateMinutes(kind, starters.length, cases, plan);
  console.error(`${kind}: ${starters.length} servers, ${cases.length} cases, about ${minutes} min`);
  for (const remark of plan.remarks) console.error(`${kind}: ${remark}`);
  const loadBefore = loadavg()[0]!;
  if (loadBefore > QUIET_LOAD) {
    console.error(`${kind}: the machine is busy (load ${loadBefore.toFixed(1)}): trust ratios at most`);
  }
  try {
    for (const [index, start] of starters.entries()) {
      const dir = join(scratch, `${index}`);
      await mkdir(dir);
      const options = { dir, sizeBytes: plan.sizeBytes };
      const subject = await start(pinned ? { ...options, cpu: SERVER_CPU } : options);
      subjects.push(subject);
      console.error(`${kind}: preparing ${subject.name}`);
      await fill(subject.uri);
    }
    for (const [index, load] of cases.entries()) {
      const result = await runCase(subjects, load, pinned ? { ...plan, loadCpu: LOAD_CPU } : plan);
      results.push(result);
      const rates = result.subjects.map(
        (one) => `${one.subject} ${Math.round(one.operationsPerSecond.median)}/s`,
      );
      console.error(`${kind} ${index + 1}/${cases.length}: ${load.name}: ${rates.join(', ')}`);
    }
  } finally {
    for (const subject of subjects.reverse()) await subject.stop();
    removeScratch();
    process.off('exit', removeScratch);
  }
  await write(kind, results, plan, pinned, loadBefore);
}

async function write(
  kind: Kind,
  results: readonly CaseResult[],
  plan: Settings,
  pinned: boolean,
  loadBefore: number,
): Promise<void> {
  const date = new Date().toISOString().slice(0, 19);
  const notes = [
    `${date}, ${cpus().length} x ${cpus()[0]?.model ?? 'CPU'}, Linux ${release()}, Node ${process.version}`,
    `${plan.rounds} interleaved rounds, random cases ${plan.seconds.random} s, sequential ones ${plan.seconds.sequential} s`,
    `volumes of ${plan.sizeBytes / 2 ** 20} MiB, filled through each server in pieces of 4 KiB`,
    ...plan.remarks,
    `load average before: ${loadBefore.toFixed(1)}`,
    pinned ? `server on CPU ${SERVER_CPU}, load on CPU ${LOAD_CPU}` : 'server and load on all CPUs',
    'ratio of rates above 1 and ratio of CPU below 1: the first server is better',
  ];
  const folder = join(ROOT, 'bench/results');
  await mkdir(folder, { recursive: true });
  const base = join(folder, `${date.replaceAll(':', '')}-${kind}`);
  const text = markdown(`Side by side: ${kind}`, notes, results);
  await writeFile(`${base}.md`, text);
  await writeFile(`${base}.json`, `${JSON.stringify({ kind, date, notes, plan, results }, null, 1)}\n`);
  console.log(text);
  console.error(`written: ${base}.md and .json`);
}

async function main(): Promise<void> {
  const kinds = (Object.keys(PEERS) as Kind[]).filter(
    (kind) => values.kind === undefined || values.kind === kind,
  );
  if (values.help || kinds.length === 0) {
    (values.help ? console.log : console.error)(USAGE);
    process.exitCode = values.help ? 0 : 64;
    return;
  }
  if (values.list) {
    for (const kind of kinds) console.log(`${kind}: rawstor, ${Object.keys(PEERS[kind]).join(', ')}`);
    for (const load of CASES) console.log(`case: ${load.name}`);
    return;
  }
  const only = values.only;
  const cases = CASES.filter((load) => only === undefined || only.some((text) => load.name.includes(text)));
  if (cases.length === 0) {
    console.error(`no case has ${only!.join(' or ')} in its name; --list names them`);
    process.exitCode = 64;
    return;
  }
  const wishes = {
    quick: values.quick,
    dir: values.dir,
    size: count('size'),
    rounds: count('rounds'),
    seconds: count('seconds'),
  };
  await mkdir(values.dir, { recursive: true });
  for (const kind of kinds) {
    const first = values.subject === 'rawstor' ? startRawstor(kind) : PEERS[kind][values.subject];
    const others = Object.entries(PEERS[kind]).filter(
      ([name]) => name !== values.subject && (values.peer === undefined || values.peer.includes(name)),
    );
    if (first === undefined) continue;
    const starters = [first, ...others.map(([, start]) => start)];
    if (values.baseline !== undefined && kind === 'local') {
      starters.push(startRawstor(kind, resolve(values.baseline)));
    }
    await runKind(kind, starters, cases, await settingsOf(kind, starters.length, wishes));
  }
}

// The servers end, and their files go, with this process.
process.once('SIGINT', () => process.exit(130));
process.once('SIGTERM', () => process.exit(143));
await main();
