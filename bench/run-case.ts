import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { asRawstorError } from '../src/common/errors.js';
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
  p50Us: Spread;
  p95Us: Spread;
  p99Us: Spread;
  p999Us: Spread;
  /** The load used nearly all of its CPU in the median run: the server may be able to do more. */
  limitedByLoad: boolean;
}

export interface CaseResult {
  case: Case;
  /** The first is the one that the others are held against. */
  subjects: SubjectResult[];
  /** Who could not do it, and why. */
  failed: { subject: string; reason: string }[];
}

export interface Plan {
  rounds: number;
  /** Of one run of a case with this pattern. */
  seconds: Readonly<Record<Case['pattern'], number>>;
  /** CPU of the load generator. */
  loadCpu?: number | undefined;
}

const LOAD_LIMIT_SHARE = 0.93;

/**
 * Measures A B A B ..., so that what else the machine does falls on all alike.
 * @throws RawstorError when the first one fails; another is left out of the case
 */
export async function runCase(subjects: readonly Subject[], load: Case, plan: Plan): Promise<CaseResult> {
  const seconds = plan.seconds[load.pattern];
  const samples = new Map(subjects.map((subject) => [subject, [] as Sample[]]));
  const failed: CaseResult['failed'] = [];
  for (let round = 0; round < plan.rounds; round++) {
    for (const subject of [...samples.keys()]) {
      try {
        // The pages that one run left dirty are not written out at the cost of the next.
        await promisify(execFile)('sync');
        await subject.beforeRun?.();
        // Other blocks in every round, the same on all sides.
        samples.get(subject)!.push(await measure(subject, load, { seconds, seed: round, cpu: plan.loadCpu }));
        await subject.afterRun?.();
      } catch (error) {
        if (subject === subjects[0]) throw error;
        samples.delete(subject);
        failed.push({ subject: subject.name, reason: asRawstorError(error).message });
      }
    }
  }
  return { case: load, subjects: [...samples].map(([{ name }, of]) => summarise(name, of)), failed };
}

export function summarise(subject: string, samples: Sample[]): SubjectResult {
  const of = (name: keyof Sample) => spread(samples.map((sample) => sample[name]));
  return {
    subject,
    samples,
    operationsPerSecond: of('operationsPerSecond'),
    serverCpuUsPerOperation: of('serverCpuUsPerOperation'),
    p50Us: of('p50Us'),
    p95Us: of('p95Us'),
    p99Us: of('p99Us'),
    p999Us: of('p999Us'),
    limitedByLoad: of('loadCpuShare').median > LOAD_LIMIT_SHARE,
  };
}

export function spread(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
  return { median, min: sorted[0]!, max: sorted.at(-1)! };
}
