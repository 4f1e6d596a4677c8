import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { cpus } from 'node:os';
import { join } from 'node:path';
import type { StageFigures } from '../../src/common/trace.js';
import { fill, measure, startLoad } from '../load.js';
import type { BenchOptions } from '../options.js';
import { type Rawstor, startCluster } from '../ours/cluster.js';
import { startRawstorVhost, startVhostApart } from '../ours/vhost.js';
import { spread } from '../run-case.js';
import type { Case, SubjectOptions } from '../types.js';
import { measureFloors } from './floors.js';
import { type BudgetRow, budget, budgetLines, type Operation } from './table.js';

interface Layout {
  name: string;
  front: 'nbd' | 'vhost';
  /** Control sockets of its gateways, in its folder. */
  control: string;
  pinned: boolean;
  start(options: SubjectOptions): Promise<Rawstor>;
}

interface Traced {
  /** Name of the operation of the tracer. */
  operation: Operation;
  op: Case['op'];
}

const SIZE_BYTES = 256 * 2 ** 20;
const SETTLE_SECONDS = 2;

const overTcp = (replicas: number): Layout => ({
  name: `NBD, ${replicas} ${replicas === 1 ? 'replica' : 'replicas'} over TCP`,
  front: 'nbd',
  control: 'nbd-control.sock',
  pinned: false,
  start: (options) => startCluster('replicated3', options, { create: ['--replicas', `${replicas}`] }),
});

const LAYOUTS: readonly Layout[] = [
  {
    name: 'NBD, OST in the same process',
    front: 'nbd',
    control: 'nbd-control.sock',
    pinned: true,
    start: (options) => startCluster('local', options),
  },
  overTcp(1),
  overTcp(2),
  overTcp(3),
  {
    name: 'vhost, OST in the same process',
    front: 'vhost',
    control: 'nbd-control.sock',
    pinned: true,
    start: startRawstorVhost,
  },
  {
    name: 'vhost, OST over a Unix socket',
    front: 'vhost',
    control: 'vhost-control.sock',
    pinned: true,
    start: startVhostApart,
  },
];
const OPERATIONS: readonly Traced[] = [
  { operation: 'read', op: 'read' },
  { operation: 'write', op: 'write' },
  { operation: 'flush', op: 'writeflush' },
];

const CASE: Case = {
  name: 'read 4k q32',
  op: 'read',
  pattern: 'random',
  blockBytes: 4096,
  depth: 32,
  connections: 1,
};

/** The latency budget: where a 4 KiB operation at queue depth 1 spends its time, and what following it costs. */
export async function runBudget(options: BenchOptions): Promise<{ text: string; data: unknown }> {
  const seconds = options.seconds ?? (options.quick ? 2 : 6);
  const two = cpus().length > 1;
  console.error(`budget: floors, then ${LAYOUTS.length} layouts`);
  const floors = await measureFloors(options.dir, Math.min(2, seconds), two ? [0, 1] : undefined);
  const lines = ['## Latency budget, 4 KiB, one request at a time', ''];
  lines.push('| floor | mean us | p50 | p99 | CPU us |', '|---|---|---|---|---|');
  for (const { name, meanUs, p50Us, p99Us, cpuUs } of floors) {
    lines.push(`| ${name} | ${[meanUs, p50Us, p99Us, cpuUs].map((us) => us.toFixed(1)).join(' | ')} |`);
  }
  lines.push('');
  const data: { layout: string; operation: Operation; clientUs: number; rows: BudgetRow[] }[] = [];
  let cost = '';
  for (const layout of LAYOUTS) {
    await withLayout(layout, options.dir, async (ours, control, cpu) => {
      await fill(ours.uri);
      for (const { operation, op } of OPERATIONS) {
        const { clientUs, stages } = await follow(ours, control, op, seconds, cpu);
        // Of a write and its flush together the client knows the sum only.
        const us = operation === 'flush' ? clientUs - (data.at(-1)?.clientUs ?? 0) : clientUs;
        const rows = budget({ front: layout.front, operation, clientUs: us, stages, floors });
        data.push({ layout: layout.name, operation, clientUs: us, rows });
        lines.push(...budgetLines(`${layout.name}, ${operation}`, us, rows));
        console.error(`budget: ${layout.name}, ${operation}: ${us.toFixed(0)} us`);
      }
      if (layout === LAYOUTS[0]) cost = await costOfTracing(ours, control, options.rounds ?? 5, seconds, cpu);
    });
  }
  lines.push(cost, '');
  return { text: lines.join('\n'), data: { floors, budget: data } };
}

async function withLayout(
  layout: Layout,
  parent: string,
  work: (ours: Rawstor, control: string, cpu: number | undefined) => Promise<void>,
): Promise<void> {
  await mkdir(parent, { recursive: true });
  const dir = await mkdtemp(join(parent, 'budget-'));
  const pinned = layout.pinned && cpus().length > 1;
  try {
    const ours = await layout.start({ dir, sizeBytes: SIZE_BYTES, ...(pinned ? { cpu: 0 } : {}) });
    try {
      await work(ours, join(dir, layout.control), pinned ? 1 : undefined);
    } finally {
      await ours.stop();
    }
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** A load at queue depth 1, and what the tracer tells of a part of it. */
async function follow(
  ours: Rawstor,
  control: string,
  op: Case['op'],
  seconds: number,
  cpu: number | undefined,
): Promise<{ clientUs: number; stages: StageFigures[] }> {
  const all = seconds + 2 * SETTLE_SECONDS;
  const load = [`uri=${ours.uri}`, `op=${op}`, 'depth=1', 'warmup=1', `seconds=${all}`, 'seed=1'];
  const { report } = await startLoad(load, cpu, () => {});
  const told = await ours.run('rawstor', traceOnce(control, seconds));
  const { operations, seconds: took } = await report;
  const { stages } = JSON.parse(told) as { stages: StageFigures[] };
  return { clientUs: (took * 1e6) / operations, stages };
}

const traceOnce = (control: string, seconds: number) => [
  'top',
  '--trace',
  '--once',
  '--interval',
  `${seconds}s`,
  '--control',
  control,
  '--output',
  'json',
];

/** On against off, in turns. */
async function costOfTracing(
  ours: Rawstor,
  control: string,
  rounds: number,
  seconds: number,
  cpu: number | undefined,
): Promise<string> {
  const cpuUs: [number[], number[]] = [[], []];
  const rate: [number[], number[]] = [[], []];
  for (let round = 0; round < rounds; round++) {
    for (const on of [0, 1] as const) {
      const traced = on === 1 ? ours.run('rawstor', traceOnce(control, seconds + 2)) : null;
      // It is there before the measured part begins.
      if (traced !== null) await new Promise((resolve) => setTimeout(resolve, 1000));
      const sample = await measure(ours, CASE, { seconds: seconds - 1, seed: round, cpu });
      cpuUs[on].push(sample.serverCpuUsPerOperation);
      rate[on].push(sample.operationsPerSecond);
      await traced;
    }
  }
  const [off, on] = [0, 1].map(
    (i) => `${spread(rate[i]!).median.toFixed(0)}/s, ${spread(cpuUs[i]!).median.toFixed(2)} us CPU`,
  );
  return `What following costs, NBD, OST in the same process, ${CASE.name}: off ${off}; on ${on}.`;
}
