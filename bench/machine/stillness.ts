import { mkdir, rm } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { compile } from '../compile.js';
import { needRoot } from '../packages.js';
import { spawnPinned, stopProcess } from '../process.js';

const SOURCE = fileURLToPath(new URL('stillness.c', import.meta.url));
const CACHE = fileURLToPath(new URL('../../.cache/bench', import.meta.url));
/** Shorter ones are the scheduler's, of every machine. */
const LEAST_MS = 2;

/** A time in which nothing happened, by the monotonic clock. */
export interface Gap {
  readonly endMs: number;
  readonly lengthMs: number;
}

export function gapOf(line: string): Gap | null {
  const gap = /^GAP (\d+) (\d+)$/.exec(line);
  return gap === null ? null : { endMs: Number(gap[1]) / 1000, lengthMs: Number(gap[2]) / 1000 };
}

/** How much of a gap lies in others, which do not overlap. In ms. */
export function sharedMs(gap: Gap, others: readonly Gap[]): number {
  return others.reduce((sum, other) => {
    const from = Math.max(gap.endMs - gap.lengthMs, other.endMs - other.lengthMs);
    return sum + Math.max(0, Math.min(gap.endMs, other.endMs) - from);
  }, 0);
}

/** Watches when nothing at all ran on this machine, a thread of real-time priority included: what no server is to blame for. */
export class Stillness {
  readonly gaps: readonly Gap[];
  readonly stop: () => Promise<void>;

  private constructor(gaps: readonly Gap[], stop: () => Promise<void>) {
    this.gaps = gaps;
    this.stop = stop;
  }

  /** @throws RawstorError UNAVAILABLE: only root may have that priority */
  static async start(): Promise<Stillness> {
    needRoot('what watches the machine');
    await mkdir(CACHE, { recursive: true });
    const program = `${CACHE}/stillness.${process.pid}`;
    await compile(program, [SOURCE]);
    const child = spawnPinned(program, [`${LEAST_MS}`]);
    const gaps: Gap[] = [];
    await new Promise<void>((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code) => reject(new Error(`what watches the machine ended with ${code}`)));
      createInterface({ input: child.stdout! }).on('line', (line) => {
        const gap = gapOf(line);
        if (gap !== null) gaps.push(gap);
        else resolve();
      });
    });
    return new Stillness(gaps, async () => {
      await stopProcess(child);
      await rm(program, { force: true });
    });
  }
}
