import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { SteadyLoad } from '../test/fixtures/steady-load.js';
import { until } from '../test/interop/cli/programs.js';
import { FAULTS, type Fault, FaultyCluster } from '../test/interop/namespaces/faulty-cluster.js';
import { medianAndMost } from './figures.js';

const USAGE = `usage: npm run pause -- [--rounds N] [--seconds N] [--only kill|stop|drop]...

  The longest time in which nothing of a steady load of a guest is answered while one of three replicas is lost:
    kill   its OST is killed, so that connections are reset
    stop   its OST is stopped (SIGSTOP)
    drop   its host drops every packet, both ways
  and while it comes back. Makes network namespaces: only root may.

  --rounds N    times for each (default 5)
  --seconds N   of load before, while it is away and after (default 4)

  npm run pause
  npm run pause -- --only drop --rounds 20
`;
const VOLUME = 'pause';
const SIZE_BYTES = 512 * 2 ** 20;
/** What is promised, see docs/operations. */
const BOUND_MS: Record<Fault, number> = { kill: 300, stop: 4000, drop: 4000 };

interface Round {
  calmMs: number;
  lostMs: number;
  backMs: number;
}

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '4' },
    only: { type: 'string', multiple: true, default: [...FAULTS] },
    help: { type: 'boolean', default: false },
  },
});

async function round(cluster: FaultyCluster, load: SteadyLoad, fault: Fault, index: number): Promise<Round> {
  const windowMs = Number(values.seconds) * 1000;
  load.mark();
  await sleep(windowMs);
  const calmMs = load.gapMs;
  load.mark();
  await cluster.lose(index, fault);
  await sleep(windowMs);
  await until(async () => (await cluster.inSync(VOLUME)) === 2);
  const lostMs = load.gapMs;
  load.mark();
  await cluster.bringBack(index, fault);
  await until(async () => (await cluster.inSync(VOLUME)) === 3);
  await sleep(1000);
  return { calmMs, lostMs, backMs: load.gapMs };
}

async function main(): Promise<void> {
  if (values.help) return console.log(USAGE);
  const cluster = await FaultyCluster.start();
  let load: SteadyLoad | null = null;
  try {
    await cluster.create(VOLUME, SIZE_BYTES);
    load = await SteadyLoad.start(cluster.nbd, VOLUME, {
      lanes: 16,
      blocksPerLane: 256,
      strideBytes: SIZE_BYTES / (16 * 256),
      flushEvery: 500,
    });
    console.log('| fault | before, ms | while it is lost, ms | while it comes back, ms | bound, ms |');
    console.log('|---|---|---|---|---|');
    for (const fault of FAULTS.filter((each) => values.only.includes(each))) {
      const rounds: Round[] = [];
      for (let i = 0; i < Number(values.rounds); i++) rounds.push(await round(cluster, load, fault, i % 3));
      const cells = [rounds.map((r) => r.calmMs), rounds.map((r) => r.lostMs), rounds.map((r) => r.backMs)];
      console.log(
        `| ${fault} | ${cells.map((of) => medianAndMost(of, 0)).join(' | ')} | ${BOUND_MS[fault]} |`,
      );
      if (rounds.some((r) => r.lostMs > BOUND_MS[fault])) process.exitCode = 1;
    }
  } finally {
    await load?.stop().catch(() => {});
    if (load !== null) {
      console.log(`${load.completions} requests, ${load.errors.length} errors`);
      for (const error of load.errors.slice(0, 5)) console.log(error);
      if (load.errors.length > 0) process.exitCode = 1;
    }
    await cluster.end();
  }
}

await main();
