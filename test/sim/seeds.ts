import type { HistoryKind } from './kind.js';
import { runSeed } from './run.js';

export interface Batch extends Partial<HistoryKind> {
  readonly from: number;
  readonly count: number;
  readonly steps: number;
  /** Ends with the first that fails. */
  readonly firstOnly?: boolean;
}

export interface BatchDone {
  readonly count: number;
  readonly failures: { seed: number; violation: string }[];
  readonly counts: Record<string, number>;
}

export function addCounts(to: Record<string, number>, more: Readonly<Record<string, number>>): void {
  for (const [name, count] of Object.entries(more)) to[name] = (to[name] ?? 0) + count;
}

/** Seeds one after the other in this process. */
export async function runBatch({ from, count, firstOnly, ...history }: Batch): Promise<BatchDone> {
  const done: BatchDone = { count, failures: [], counts: {} };
  for (let seed = from; seed < from + count; seed++) {
    const { violation, counts } = await runSeed({ ...history, seed });
    addCounts(done.counts, counts);
    if (violation === null) continue;
    done.failures.push({ seed, violation });
    if (firstOnly) break;
  }
  return done;
}
