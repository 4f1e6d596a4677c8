import { Histogram } from '../../src/common/histogram.js';
import { BlkType } from '../../src/vhost/constants.js';
import { VhostQueue } from './vhost-queue.js';
import { Kind, Workload, type WorkloadOptions } from './workload.js';

/** nbdload's twin for a vhost-user-blk server: the same arguments, `uri=vhost:PATH`, and the same report. */

const options = new Map(
  process.argv.slice(2).map((arg): [string, string] => {
    const at = arg.indexOf('=');
    return [arg.slice(0, at), arg.slice(at + 1)];
  }),
);
const number = (name: string, otherwise: number) => Number(options.get(name) ?? otherwise);

const op = (options.get('op') ?? 'read') as WorkloadOptions['op'];
const filling = op === 'fill';
const blockBytes = number('block', 4096);
const depth = number('depth', 1);
const [warmupMs, measuredMs] = filling
  ? [0, 3.6e6]
  : [number('warmup', 0.3) * 1000, number('seconds', 5) * 1000];
const queue = await VhostQueue.connect(options.get('uri')!.slice('vhost:'.length), depth, blockBytes);
const work = new Workload({
  op,
  pattern: filling || options.get('pattern') === 'sequential' ? 'sequential' : 'random',
  blocks: Math.floor(queue.sizeBytes / blockBytes),
  readPercent: number('reads', 0),
  flushEvery: number('flushevery', 0),
  seed: number('seed', 1),
});

const histogram = new Histogram();
const startedMs = new Float64Array(depth);
/** Not counted: a flush of its own. */
const isFlush = new Uint8Array(depth);
/** The flush behind a write. */
const flushesBehind = new Uint8Array(depth);
const fromMs = performance.now() + warmupMs;
const untilMs = fromMs + measuredMs;
let nowMs = performance.now();
let inFlight = 0;
let stopping = false;
let measuring = false;
let finalFlush = false;
let cpu = process.cpuUsage();
process.on('SIGTERM', () => {
  stopping = true;
});

function start(slot: number): void {
  if (stopping) return;
  const kind = work.next();
  if (kind === Kind.NONE) return;
  startedMs[slot] = nowMs;
  isFlush[slot] = kind === Kind.FLUSH ? 1 : 0;
  inFlight++;
  queue.add(
    slot,
    kind === Kind.READ ? BlkType.IN : kind === Kind.WRITE ? BlkType.OUT : BlkType.FLUSH,
    work.block,
  );
}

function done(slot: number): void {
  if (op === 'writeflush' && flushesBehind[slot] === 0) {
    flushesBehind[slot] = 1;
    queue.add(slot, BlkType.FLUSH, 0);
    return;
  }
  flushesBehind[slot] = 0;
  inFlight--;
  if (nowMs >= fromMs && nowMs < untilMs && isFlush[slot] === 0)
    histogram.record((nowMs - startedMs[slot]!) * 1000);
  start(slot);
}

function turn(): void {
  nowMs = performance.now();
  if (!measuring && nowMs >= fromMs) {
    measuring = true;
    cpu = process.cpuUsage();
    console.log('START');
  }
  if (nowMs >= untilMs) stopping = true;
  for (let slot = queue.take(); slot >= 0; slot = queue.take()) done(slot);
  queue.kick();
  if (inFlight === 0) end();
}

function end(): void {
  if (filling && !finalFlush) {
    finalFlush = true;
    isFlush[0] = 1;
    inFlight++;
    queue.add(0, BlkType.FLUSH, 0);
    queue.kick();
    return;
  }
  const seconds = (performance.now() - fromMs) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  const us = (share: number) => Number(histogram.quantileUs(share).toFixed(1));
  const report = {
    operations: histogram.count,
    bytes: histogram.count * blockBytes,
    seconds,
    loadCpuSeconds: (user + system) / 1e6,
    p50Us: us(0.5),
    p95Us: us(0.95),
    p99Us: us(0.99),
    p999Us: us(0.999),
    maxUs: Number(histogram.maxUs.toFixed(1)),
  };
  process.stdout.write(`${JSON.stringify(report)}\n`, () => process.exit(0));
}

for (let slot = 0; slot < depth; slot++) {
  queue.prepare(slot);
  start(slot);
}
queue.onInterrupt(turn);
queue.kick();
