import type { ChildProcess } from 'node:child_process';
import { mkdirSync, readdirSync, renameSync, statSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { RawstorError } from '../src/common/errors.js';
import { compile } from './compile.js';
import { cpuSeconds } from './cpu.js';
import { spawnPinned } from './process.js';
import type { Case, Sample, Subject } from './types.js';

const SOURCES = fileURLToPath(new URL('load/', import.meta.url));
/** By the scheme of the URI; NBD's is compiled. */
const LOADS = {
  vhost: fileURLToPath(new URL('load/vhost-load.ts', import.meta.url)),
  file: fileURLToPath(new URL('load/file-load.ts', import.meta.url)),
};
const PROGRAM = fileURLToPath(new URL('../.cache/bench/nbdload', import.meta.url));

export interface LoadReport {
  operations: number;
  bytes: number;
  seconds: number;
  loadCpuSeconds: number;
  p50Us: number;
  p95Us: number;
  p99Us: number;
  p999Us: number;
  maxUs: number;
}

/**
 * Compiles the load generator when its source is newer. It is our own because libnbd (and fio over it) needs
 * several system calls for each reply and saturates its CPU before the faster servers do.
 */
async function buildLoad(): Promise<string> {
  const sources = readdirSync(SOURCES)
    .filter((name) => /\.[ch]$/.test(name))
    .map((name) => `${SOURCES}${name}`);
  const builtMs = statSync(PROGRAM, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  if (sources.every((path) => statSync(path).mtimeMs < builtMs)) return PROGRAM;
  mkdirSync(fileURLToPath(new URL('../.cache/bench', import.meta.url)), { recursive: true });
  const scratch = `${PROGRAM}.${process.pid}`;
  const units = sources.filter((path) => path.endsWith('.c'));
  await compile(scratch, units);
  renameSync(scratch, PROGRAM);
  return PROGRAM;
}

/** Which program loads this kind of server, and what it is called with. */
async function commandFor(args: readonly string[]): Promise<[string, string[]]> {
  const scheme = /^uri=(\w+):/.exec(args.find((arg) => arg.startsWith('uri=')) ?? '')?.[1];
  if (scheme !== 'vhost' && scheme !== 'file') return [await buildLoad(), [...args]];
  return [process.execPath, ['--import', 'tsx', LOADS[scheme], ...args]];
}

/** Starts the generator; `onLine` gets what it prints before its report. */
export async function startLoad(
  args: readonly string[],
  cpu: number | undefined,
  onLine: (line: string) => void,
): Promise<{ child: ChildProcess; report: Promise<LoadReport> }> {
  const child = spawnPinned(...(await commandFor(args)), cpu);
  let stderr = '';
  let last = '';
  child.stderr!.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  createInterface({ input: child.stdout! }).on('line', (line) => {
    if (line.startsWith('{')) last = line;
    else onLine(line);
  });
  const report = new Promise<LoadReport>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => {
      if (code === 0) resolve(JSON.parse(last) as LoadReport);
      else
        reject(
          new RawstorError('IO', `the load ended with ${code}: ${stderr.trim()}`, { where: args.join(' ') }),
        );
    });
  });
  return { child, report };
}

/** Runs the generator; `onStart` is called when the measured part begins. */
async function runLoad(
  args: readonly string[],
  cpu: number | undefined,
  onStart: () => void,
): Promise<LoadReport> {
  const { report } = await startLoad(args, cpu, (line) => {
    if (line === 'START') onStart();
  });
  return await report;
}

/**
 * Writes every block, in pieces of 4 KiB unless said otherwise, so that the page cache of all sides is built the same way.
 * @param share only a random one of so many equal parts of the blocks
 */
export async function fill(
  uri: string,
  share?: { part: number; parts: number },
  blockBytes = 4096,
): Promise<void> {
  const of = share === undefined ? [] : [`part=${share.part}`, `parts=${share.parts}`];
  const depth = blockBytes > 65536 ? 4 : 16;
  await runLoad(
    [`uri=${uri}`, 'op=fill', `block=${blockBytes}`, `depth=${depth}`, ...of],
    undefined,
    () => {},
  );
}

export async function measure(
  subject: Subject,
  load: Case,
  options: { seconds: number; seed: number; cpu?: number | undefined },
): Promise<Sample> {
  let before = 0;
  const report = await runLoad(
    [
      `uri=${subject.uri}`,
      `op=${load.op}`,
      `pattern=${load.pattern}`,
      `block=${load.blockBytes}`,
      `depth=${load.depth}`,
      `connections=${load.connections}`,
      ...(load.readPercent === undefined ? [] : [`reads=${load.readPercent}`]),
      ...(load.flushEvery === undefined ? [] : [`flushevery=${load.flushEvery}`]),
      ...(load.structured === true ? ['structured=1'] : []),
      // Long enough for a just-in-time compiler to have seen the case.
      'warmup=1',
      `seconds=${options.seconds}`,
      `seed=${options.seed}`,
    ],
    options.cpu,
    () => (before = cpuSeconds(subject.pids)),
  );
  const serverCpuSeconds = cpuSeconds(subject.pids) - before;
  return {
    operationsPerSecond: report.operations / report.seconds,
    bytesPerSecond: report.bytes / report.seconds,
    serverCpuUsPerOperation: (serverCpuSeconds * 1e6) / report.operations,
    loadCpuShare: report.loadCpuSeconds / report.seconds,
    p50Us: report.p50Us,
    p95Us: report.p95Us,
    p99Us: report.p99Us,
    p999Us: report.p999Us,
    maxUs: report.maxUs,
  };
}
