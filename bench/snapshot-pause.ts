import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import type { Cluster } from '../src/client/index.js';
import { medianAndMost, medianOf } from './figures.js';
import { fill } from './load.js';
import { LoudLoad } from './loud-load.js';
import { type Gap, Stillness, sharedMs } from './machine/stillness.js';
import { OwnCluster } from './own-cluster.js';

const USAGE = `usage: npm run snapshot-pause -- [--snapshots N] [--size MIB] [--only random|sequential]

  The longest time in which no write of a guest is answered while a snapshot of its volume is taken, and in as long a
  time without one; and without the time in which nothing at all ran on this machine, as a thread of real-time priority sees it.
  Two replicas over TCP on this machine's one disk; nothing is ever flushed by the guest.

  --snapshots N   for each load (default 20)
  --size MIB      of the volume (default 1024)

  npm run snapshot-pause
`;
const VOLUME = 'paused';
const BETWEEN_MS = 1500;
/** What is promised, see docs/snapshots. */
const MEDIAN_MS = 10;
const MAX_MS = 100;
const LOADS = {
  /** 11,000 writes a second. */
  random: ['pattern=random', 'block=4096', 'depth=32', 'rate=45e6'],
  sequential: ['pattern=sequential', 'block=262144', 'depth=8', 'rate=200e6'],
};

const { values } = parseArgs({
  options: {
    snapshots: { type: 'string', default: '20' },
    size: { type: 'string', default: '1024' },
    only: { type: 'string', multiple: true, default: Object.keys(LOADS) },
    help: { type: 'boolean', default: false },
  },
});

/** Longest silence that has a part in a window, in ms of the monotonic clock; without what lies in `others`. */
function longest(load: LoudLoad, fromMs: number, untilMs: number, others: readonly Gap[] = []): number {
  const inside = load.gaps.filter(({ endMs, lengthMs }) => endMs > fromMs && endMs - lengthMs < untilMs);
  return Math.max(0, ...inside.map((gap) => gap.lengthMs - sharedMs(gap, others)));
}

async function measure(
  cluster: Cluster,
  machine: Stillness,
  uri: string,
  name: keyof typeof LOADS,
): Promise<void> {
  const load = await LoudLoad.start([`uri=${uri}`, 'op=write', ...LOADS[name]]);
  const paused: number[] = [];
  const own: number[] = [];
  const calm: number[] = [];
  const took: number[] = [];
  try {
    for (let i = 0; i < Number(values.snapshots); i++) {
      await sleep(BETWEEN_MS);
      const askedMs = load.nowMs();
      const change = { kind: 'snapshot' as const, name: `${name}-${i}` };
      await cluster.changeVolume(VOLUME, change, { timeoutMs: 20_000 });
      const answeredMs = load.nowMs();
      took.push(answeredMs - askedMs);
      await sleep(200);
      paused.push(longest(load, askedMs, answeredMs + 50));
      own.push(longest(load, askedMs, answeredMs + 50, machine.gaps));
      calm.push(longest(load, askedMs - took.at(-1)! - 500, askedMs - 500));
    }
  } finally {
    const { operations, bytes, seconds } = await load.stop();
    const rate = `${Math.round(operations / seconds)}/s, ${Math.round(bytes / seconds / 1e6)} MB/s`;
    console.log(
      `| ${name} | ${rate} | ${[calm, paused, own, took].map((of) => medianAndMost(of, 1)).join(' | ')} |`,
    );
  }
  if (medianOf(own) > MEDIAN_MS || Math.max(...own) > MAX_MS) process.exitCode = 1;
}

async function run(cluster: OwnCluster): Promise<void> {
  const { uri } = await cluster.create(VOLUME, Number(values.size) * 2 ** 20, 2);
  await fill(uri);
  console.log(
    '| load | rate | without a snapshot, ms | while one is taken, ms | of it while the machine ran, ms | the snapshot took, ms |',
  );
  console.log('|---|---|---|---|---|---|');
  const machine = await Stillness.start();
  try {
    for (const name of values.only as (keyof typeof LOADS)[])
      await measure(cluster.client, machine, uri, name);
  } finally {
    await machine.stop();
  }
}

if (values.help) console.log(USAGE);
else await OwnCluster.with('replicated3', undefined, run);
