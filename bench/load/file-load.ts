import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { LoadReport } from '../load.js';

/**
 * nbdload's twin for a file, done by fio: the same arguments, `uri=file:PATH`, and the same report. With O_DIRECT, so that every
 * operation reaches who serves the file, and through io_uring, so that a file system without asynchronous I/O has them in parallel too.
 */

const options = new Map(
  process.argv.slice(2).map((arg): [string, string] => {
    const at = arg.indexOf('=');
    return [arg.slice(0, at), arg.slice(at + 1)];
  }),
);
const of = (name: string, otherwise: string) => options.get(name) ?? otherwise;

const WARMUP_MS = 1000;
const PERCENTILES = ['50.000000', '95.000000', '99.000000', '99.900000'] as const;

/** What is used of fio's JSON; times of latency in ns, of the run in ms, CPU in % of one. */
interface FioJob {
  usr_cpu: number;
  sys_cpu: number;
  mixed: {
    total_ios: number;
    io_bytes: number;
    runtime: number;
    clat_ns: { max: number; percentile: Record<string, number> };
  };
}

function patternOf(op: string, isRandom: boolean): string[] {
  const [read, write, both] = isRandom ? ['randread', 'randwrite', 'randrw'] : ['read', 'write', 'rw'];
  if (op === 'read') return [`--rw=${read}`];
  if (op === 'mix') return [`--rw=${both}`, `--rwmixread=${of('reads', '50')}`];
  if (op === 'writeflush') return [`--rw=${write}`, '--fsync=1'];
  const every = Number(of('flushevery', '0'));
  return [`--rw=${write}`, ...(every > 0 ? [`--fsync=${every}`] : [])];
}

async function fio(args: readonly string[]): Promise<FioJob> {
  const common = ['--name=load', `--filename=${options.get('uri')!.slice('file:'.length)}`, '--direct=1'];
  const how = [
    '--ioengine=io_uring',
    '--output-format=json',
    '--unified_rw_reporting=1',
    '--group_reporting',
  ];
  const { stdout } = await promisify(execFile)('fio', [...common, ...how, ...args], { maxBuffer: 2 ** 24 });
  // It may say something before.
  return (JSON.parse(stdout.slice(stdout.indexOf('{\n'))) as { jobs: [FioJob] }).jobs[0];
}

const bs = `--bs=${of('block', '4096')}`;
const depth = `--iodepth=${of('depth', '1')}`;
const op = of('op', 'read');
let job: FioJob;
if (op === 'fill') job = await fio(['--rw=write', bs, depth, '--end_fsync=1']);
else {
  const started = setTimeout(() => console.log('START'), WARMUP_MS);
  const seconds = [`--ramp_time=${WARMUP_MS / 1000}`, '--time_based', `--runtime=${of('seconds', '5')}`];
  const places = [
    '--norandommap',
    `--randseed=${1 + Number(of('seed', '1'))}`,
    `--numjobs=${of('connections', '1')}`,
  ];
  const isRandom = of('pattern', 'random') === 'random';
  job = await fio([
    ...patternOf(op, isRandom),
    bs,
    depth,
    ...seconds,
    ...places,
    '--percentile_list=50:95:99:99.9',
  ]);
  clearTimeout(started);
}
const { mixed } = job;
const seconds = mixed.runtime / 1000;
const [p50Us, p95Us, p99Us, p999Us] = PERCENTILES.map(
  (name) => (mixed.clat_ns.percentile?.[name] ?? 0) / 1000,
);
const report: LoadReport = {
  operations: mixed.total_ios,
  bytes: mixed.io_bytes,
  seconds,
  loadCpuSeconds: ((job.usr_cpu + job.sys_cpu) / 100) * seconds,
  p50Us: p50Us!,
  p95Us: p95Us!,
  p99Us: p99Us!,
  p999Us: p999Us!,
  maxUs: mixed.clat_ns.max / 1000,
};
console.log(JSON.stringify(report));
