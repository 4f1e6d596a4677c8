import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { cpus, release } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { CASES } from './cases.js';
import { fill } from './load.js';
import { type Kind, PEERS } from './peers/index.js';
import { startRawstor } from './rawstor.js';
import { type CaseResult, markdown, type Plan, runCase } from './report.js';
import type { Case, StartSubject, Subject } from './types.js';

const USAGE = `usage: npm run bench -- [--quick] [--only TEXT]... [--peer NAME]... [--kind local|replicated3]
                        [--subject rawstor|PEER] [--size MIB] [--rounds N] [--seconds N] [--dir FOLDER] [--list]

  --only TEXT     only the cases whose name has TEXT in it
  --peer NAME     only these peers, see --list; none for no peer
  --subject NAME  what the peers are held against: rawstor, or another peer
  --dir FOLDER    on the disk to measure (default .cache/bench)

  npm run bench -- --quick --only q32
  npm run bench -- --kind replicated3 --rounds 7
`;
const ROOT = fileURLToPath(new URL('..', import.meta.url));
const SERVER_CPU = 0;
const LOAD_CPU = 1;

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string', multiple: true },
    peer: { type: 'string', multiple: true },
    kind: { type: 'string' },
    subject: { type: 'string', default: 'rawstor' },
    size: { type: 'string' },
    rounds: { type: 'string' },
    seconds: { type: 'string' },
    dir: { type: 'string', default: join(ROOT, '.cache/bench') },
    list: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

interface Settings extends Plan {
  dir: string;
  sizeBytes: number;
}

function settings(): Settings {
  const number = (text: string | undefined, otherwise: number) =>
    text === undefined ? otherwise : Number(text);
  return {
    rounds: number(values.rounds, values.quick ? 3 : 5),
    seconds: number(values.seconds, values.quick ? 2 : 8),
    sizeBytes: number(values.size, values.quick ? 256 : 1024) * 2 ** 20,
    dir: values.dir,
  };
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
  const subjects: Subject[] = [];
  const results: CaseResult[] = [];
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
    for (const load of cases) {
      const result = await runCase(subjects, load, pinned ? { ...plan, loadCpu: LOAD_CPU } : plan);
      results.push(result);
      const rates = result.subjects.map(
        (one) => `${one.subject} ${Math.round(one.operationsPerSecond.median)}/s`,
      );
      console.error(`${kind}: ${load.name}: ${rates.join(', ')}`);
    }
  } finally {
    for (const subject of subjects.reverse()) await subject.stop();
    await rm(scratch, { recursive: true, force: true });
  }
  await write(kind, results, plan, pinned);
}

async function write(
  kind: Kind,
  results: readonly CaseResult[],
  plan: Settings,
  pinned: boolean,
): Promise<void> {
  const date = new Date().toISOString().slice(0, 19);
  const notes = [
    `${date}, ${cpus().length} x ${cpus()[0]?.model ?? 'CPU'}, Linux ${release()}, Node ${process.version}`,
    `${plan.rounds} interleaved rounds of ${plan.seconds} s, ${plan.sizeBytes / 2 ** 20} MiB filled in pieces of 4 KiB`,
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
  const plan = settings();
  await mkdir(plan.dir, { recursive: true });
  for (const kind of kinds) {
    const first = values.subject === 'rawstor' ? startRawstor(kind) : PEERS[kind][values.subject];
    const others = Object.entries(PEERS[kind]).filter(
      ([name]) => name !== values.subject && (values.peer === undefined || values.peer.includes(name)),
    );
    if (first === undefined) continue;
    await runKind(kind, [first, ...others.map(([, start]) => start)], cases, plan);
  }
}

await main();
