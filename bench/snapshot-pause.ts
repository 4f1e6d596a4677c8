import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { pino } from 'pino';
import { Cluster } from '../src/client/index.js';
import { systemClock } from '../src/common/clock.js';
import { createIo } from '../src/io/index.js';
import { fill } from './load.js';
import { LoudLoad } from './loud-load.js';
import { startRawstor } from './rawstor.js';

const USAGE = `usage: npm run snapshot-pause -- [--snapshots N] [--size MIB] [--only random|sequential]

  The longest time in which no write of a guest is answered while a snapshot of its volume is taken, and in as long a
  time without one. Two replicas over TCP on this machine's one disk; nothing is ever flushed by the guest.

  --snapshots N   for each load (default 20)
  --size MIB      of the volume (default 1024)

  npm run snapshot-pause
`;
const VOLUME = 'paused';
const SPEC = {
  chunkSizeBytes: 2 ** 30,
  replicas: 2,
  minReplicas: 1,
  stripeWidth: 1,
  failureDomain: 'host',
  near: null,
  onDegraded: 'pause',
} as const;
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

/** Longest silence that has a part in a window, in ms of the monotonic clock. */
function longest(load: LoudLoad, fromMs: number, untilMs: number): number {
  const inside = load.gaps.filter(({ endMs, lengthMs }) => endMs > fromMs && endMs - lengthMs < untilMs);
  return Math.max(0, ...inside.map(({ lengthMs }) => lengthMs));
}

function cell(of: readonly number[]): string {
  const sorted = [...of].sort((a, b) => a - b);
  return `${sorted[Math.floor(sorted.length / 2)]!.toFixed(1)} (at most ${sorted.at(-1)!.toFixed(1)})`;
}

async function measure(cluster: Cluster, uri: string, name: keyof typeof LOADS): Promise<void> {
  const load = await LoudLoad.start([`uri=${uri}`, 'op=write', ...LOADS[name]]);
  const paused: number[] = [];
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
      calm.push(longest(load, askedMs - took.at(-1)! - 500, askedMs - 500));
    }
  } finally {
    const { operations, bytes, seconds } = await load.stop();
    const rate = `${Math.round(operations / seconds)}/s, ${Math.round(bytes / seconds / 1e6)} MB/s`;
    console.log(`| ${name} | ${rate} | ${cell(calm)} | ${cell(paused)} | ${cell(took)} |`);
  }
  const median = [...paused].sort((a, b) => a - b)[Math.floor(paused.length / 2)]!;
  if (median > MEDIAN_MS || Math.max(...paused) > MAX_MS) process.exitCode = 1;
}

async function main(): Promise<void> {
  if (values.help) return console.log(USAGE);
  const cache = fileURLToPath(new URL('../.cache/bench', import.meta.url));
  await mkdir(cache, { recursive: true });
  const dir = await mkdtemp(join(cache, 'snapshot-pause-'));
  const subject = await startRawstor('replicated3')({ dir, sizeBytes: 2 ** 20 });
  const io = createIo({ poolBytes: 2 ** 24 });
  const log = pino({ level: 'silent' });
  try {
    const cluster = await Cluster.connect({ location: dir, io, clock: systemClock, log, name: 'bench' });
    await cluster.createVolume({ ...SPEC, name: VOLUME, sizeBytes: Number(values.size) * 2 ** 20 });
    const uri = subject.uri.replace('/bench?', `/${VOLUME}?`);
    await fill(uri);
    console.log('| load | rate | without a snapshot, ms | while one is taken, ms | the snapshot took, ms |');
    console.log('|---|---|---|---|---|');
    for (const name of values.only as (keyof typeof LOADS)[]) await measure(cluster, uri, name);
    await cluster.close();
  } finally {
    await subject.stop();
    await io.close();
    await rm(dir, { recursive: true, force: true });
  }
}

await main();
