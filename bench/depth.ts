import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { pino } from 'pino';
import { Cluster } from '../src/client/index.js';
import { systemClock } from '../src/common/clock.js';
import { createIo } from '../src/io/index.js';
import { CASES } from './cases.js';
import { fill, measure } from './load.js';
import { startRawstor } from './rawstor.js';
import type { Case, Sample, Subject } from './types.js';

const USAGE = `usage: npm run depth -- [--versions N] [--size MIB] [--rounds N] [--seconds N]

  Reads of a volume whose blocks lie at random in as many versions as there are, against one written in the same order
  without snapshots, on one OST in the gateway's process. Everything is in the page cache of both.

  --versions N   default 64
  --size MIB     of each of the two volumes (default 8192): they have to fit into memory together
  --rounds N     default 5
  --seconds N    of each run (default 5)

  npm run depth
`;
/** One OST has it all. */
const SPEC = {
  chunkSizeBytes: 2 ** 30,
  replicas: 1,
  minReplicas: 1,
  stripeWidth: 1,
  failureDomain: 'host',
  near: null,
  onDegraded: 'pause',
} as const;
const SERVER_CPU = 0;
const LOAD_CPU = 1;
/** What is promised, see docs/snapshots. */
const RATIO = 0.7;

const { values } = parseArgs({
  options: {
    versions: { type: 'string', default: '64' },
    size: { type: 'string', default: '8192' },
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '5' },
    help: { type: 'boolean', default: false },
  },
});

const rssMiB = ({ pids }: Subject) =>
  Math.round(Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pids[0]}/status`, 'utf8'))?.[1]) / 1024);

function cell(of: readonly number[], digits = 0): string {
  const sorted = [...of].sort((a, b) => a - b);
  const [least, most] = [sorted[0]!, sorted.at(-1)!];
  return `${median(of).toFixed(digits)} (${least.toFixed(digits)} to ${most.toFixed(digits)})`;
}

const median = (of: readonly number[]) => [...of].sort((a, b) => a - b)[Math.floor(of.length / 2)]!;

/** Both in the same order, one with a snapshot after each part. */
async function prepare(cluster: Cluster, flat: Subject, deep: Subject): Promise<void> {
  const parts = Number(values.versions);
  for (let part = 0; part < parts; part++) {
    await fill(flat.uri, { part, parts });
    await fill(deep.uri, { part, parts });
    if (part === parts - 1) break;
    const change = { kind: 'snapshot' as const, name: `v${part}` };
    await cluster.changeVolume('deep', change, { timeoutMs: 60_000 });
  }
}

async function compare(flat: Subject, deep: Subject, load: Case): Promise<number> {
  const samples: [Sample[], Sample[]] = [[], []];
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const [i, subject] of [flat, deep].entries()) {
      const options = { seconds: Number(values.seconds), seed: round + 1, cpu: LOAD_CPU };
      samples[i]!.push(await measure(subject, load, options));
    }
  }
  const rates = samples.map((side) => side.map((one) => one.operationsPerSecond));
  const cpu = samples.map((side) => side.map((one) => one.serverCpuUsPerOperation));
  const ratio = median(rates[1]!) / median(rates[0]!);
  const cells = [...rates.map((side) => cell(side)), ratio.toFixed(2), ...cpu.map((side) => cell(side, 1))];
  console.log(`| ${load.name} | ${cells.join(' | ')} |`);
  return ratio;
}

async function main(): Promise<void> {
  if (values.help) return console.log(USAGE);
  const cache = fileURLToPath(new URL('../.cache/bench', import.meta.url));
  await mkdir(cache, { recursive: true });
  const dir = await mkdtemp(join(cache, 'depth-'));
  const sizeBytes = Number(values.size) * 2 ** 20;
  const server = await startRawstor('local')({ dir, sizeBytes: 2 ** 20, cpu: SERVER_CPU });
  const io = createIo({ poolBytes: 2 ** 24 });
  const log = pino({ level: 'silent' });
  try {
    const location = `unix:${join(dir, 'mds.sock')}`;
    const cluster = await Cluster.connect({ location, io, clock: systemClock, log, name: 'bench' });
    const volumeOf = async (name: string): Promise<Subject> => {
      await cluster.createVolume({ ...SPEC, name, sizeBytes });
      return { ...server, name, uri: server.uri.replace('/bench?', `/${name}?`) };
    };
    const [flat, deep] = [await volumeOf('flat'), await volumeOf('deep')];
    await prepare(cluster, flat, deep);
    const before = rssMiB(server);
    console.log(`${values.versions} versions of ${values.size} MiB`);
    console.log('| load | flat, /s | deep, /s | ratio | flat, CPU us/op | deep, CPU us/op |');
    console.log('|---|---|---|---|---|---|');
    for (const load of CASES.filter(({ name }) => /^read 4k q(1|32)$/.test(name))) {
      const ratio = await compare(flat, deep, load);
      if (load.depth === 32 && ratio < RATIO) process.exitCode = 1;
    }
    console.log(`memory of the server: ${before} MiB before it was read, ${rssMiB(server)} MiB after`);
    // The gateway closes what nobody uses.
    for (const name of ['flat', 'deep']) {
      while ((await cluster.mds.call('mds.getObj', { ref: name })).lease !== null) await sleep(200);
      const startedMs = performance.now();
      const volume = await cluster.openVolume(name, { mode: 'write', timeoutMs: 20_000 });
      console.log(`${name}: opened in ${(performance.now() - startedMs).toFixed(0)} ms`);
      await volume.close();
    }
    await cluster.close();
  } finally {
    await server.stop();
    await io.close();
    await rm(dir, { recursive: true, force: true });
  }
}

await main();
