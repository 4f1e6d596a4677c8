import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { measure } from './load.js';
import type { Case, Sample, Subject } from './types.js';

export interface Spread {
  median: number;
  min: number;
  max: number;
}

export interface SubjectResult {
  subject: string;
  samples: Sample[];
  operationsPerSecond: Spread;
  serverCpuUsPerOperation: Spread;
  p99Us: Spread;
  /** The load used nearly all of its CPU in the median run: the server may be able to do more. */
  limitedByLoad: boolean;
}

export interface CaseResult {
  case: Case;
  /** The first is the one that the others are held against. */
  subjects: SubjectResult[];
}

export interface Plan {
  rounds: number;
  /** Of one run of a case with this pattern. */
  seconds: Readonly<Record<Case['pattern'], number>>;
  /** CPU of the load generator. */
  loadCpu?: number | undefined;
}

const LOAD_LIMIT_SHARE = 0.93;

/** Measures A B A B ..., so that what else the machine does falls on all alike. */
export async function runCase(subjects: readonly Subject[], load: Case, plan: Plan): Promise<CaseResult> {
  const seconds = plan.seconds[load.pattern];
  const samples = subjects.map((): Sample[] => []);
  for (let round = 0; round < plan.rounds; round++) {
    for (const [index, subject] of subjects.entries()) {
      // The pages that one run left dirty are not written out at the cost of the next.
      await promisify(execFile)('sync');
      // Other blocks in every round, the same on all sides.
      samples[index]!.push(await measure(subject, load, { seconds, seed: round, cpu: plan.loadCpu }));
    }
  }
  return { case: load, subjects: subjects.map((subject, index) => summarise(subject.name, samples[index]!)) };
}

export function summarise(subject: string, samples: Sample[]): SubjectResult {
  return {
    subject,
    samples,
    operationsPerSecond: spread(samples.map((sample) => sample.operationsPerSecond)),
    serverCpuUsPerOperation: spread(samples.map((sample) => sample.serverCpuUsPerOperation)),
    p99Us: spread(samples.map((sample) => sample.p99Us)),
    limitedByLoad: spread(samples.map((sample) => sample.loadCpuShare)).median > LOAD_LIMIT_SHARE,
  };
}

function spread(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
  return { median, min: sorted[0]!, max: sorted.at(-1)! };
}

export function markdown(title: string, notes: readonly string[], results: readonly CaseResult[]): string {
  const lines = [`# ${title}`, '', ...notes.map((note) => `- ${note}`), ''];
  lines.push(
    '| case | server | thousands of operations/s: median (min - max) | MB/s | first / this | CPU us/op: median (min - max) | first / this | p99 us |',
    '|---|---|---|---|---|---|---|---|',
  );
  for (const result of results) {
    const first = result.subjects[0]!;
    for (const one of result.subjects) {
      const rate = one.operationsPerSecond;
      const cpu = one.serverCpuUsPerOperation;
      lines.push(
        `| ${[
          one === first ? result.case.name : '',
          one.subject,
          `${thousands(rate.median)} (${thousands(rate.min)} - ${thousands(rate.max)})${one.limitedByLoad ? ' *' : ''}`,
          ((rate.median * result.case.blockBytes) / 1e6).toFixed(0),
          one === first ? '' : (first.operationsPerSecond.median / rate.median).toFixed(2),
          `${cpu.median.toFixed(1)} (${cpu.min.toFixed(1)} - ${cpu.max.toFixed(1)})`,
          one === first ? '' : (first.serverCpuUsPerOperation.median / cpu.median).toFixed(2),
          one.p99Us.median.toFixed(0),
        ].join(' | ')} |`,
      );
    }
  }
  if (results.some((result) => result.subjects.some((one) => one.limitedByLoad))) {
    lines.push('', '\\* the load used its whole CPU: this server may be able to do more.');
  }
  return `${lines.join('\n')}\n`;
}

function thousands(value: number): string {
  return (value / 1000).toFixed(value < 10_000 ? 2 : 1);
}
