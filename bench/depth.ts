import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { CASES } from './cases.js';
import { medianAndRange, medianOf } from './figures.js';
import { fill, measure } from './load.js';
import { OwnCluster } from './own-cluster.js';
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

/** Both in the same order, one with a snapshot after each part. */
async function prepare({ client }: OwnCluster, flat: Subject, deep: Subject): Promise<void> {
  const parts = Number(values.versions);
  for (let part = 0; part < parts; part++) {
    await fill(flat.uri, { part, parts });
    await fill(deep.uri, { part, parts });
    if (part === parts - 1) break;
    const change = { kind: 'snapshot' as const, name: `v${part}` };
    await client.changeVolume('deep', change, { timeoutMs: 60_000 });
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
  const ratio = medianOf(rates[1]!) / medianOf(rates[0]!);
  const cells = [
    ...rates.map((side) => medianAndRange(side, 0)),
    ratio.toFixed(2),
    ...cpu.map((side) => medianAndRange(side, 1)),
  ];
  console.log(`| ${load.name} | ${cells.join(' | ')} |`);
  return ratio;
}

async function run(cluster: OwnCluster): Promise<void> {
  const { client, server } = cluster;
  const sizeBytes = Number(values.size) * 2 ** 20;
  const flat = await cluster.create('flat', sizeBytes, 1);
  const deep = await cluster.create('deep', sizeBytes, 1);
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
  for (const { name } of [flat, deep]) {
    while ((await client.mds.call('mds.getObj', { ref: name })).lease !== null) await sleep(200);
    const startedMs = performance.now();
    const volume = await client.openVolume(name, { mode: 'write', timeoutMs: 20_000 });
    console.log(`${name}: opened in ${(performance.now() - startedMs).toFixed(0)} ms`);
    await volume.close();
  }
}

if (values.help) console.log(USAGE);
else await OwnCluster.with('local', SERVER_CPU, run);
