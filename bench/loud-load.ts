import type { ChildProcess } from 'node:child_process';
import { type LoadReport, startLoad } from './load.js';
import { type Gap, gapOf } from './machine/stillness.js';

/** A load that runs until it is stopped, and tells of every gap of a millisecond and more in its answers. */
export class LoudLoad {
  readonly gaps: readonly Gap[];
  private readonly child: ChildProcess;
  private readonly report: Promise<LoadReport>;

  private constructor(gaps: readonly Gap[], child: ChildProcess, report: Promise<LoadReport>) {
    this.gaps = gaps;
    this.child = child;
    this.report = report;
  }

  /** Resolves when it has warmed up. */
  static async start(args: readonly string[]): Promise<LoudLoad> {
    const gaps: Gap[] = [];
    let isWarm = () => {};
    const warm = new Promise<void>((resolve) => {
      isWarm = resolve;
    });
    const all = [...args, 'gaps=1', 'warmup=2', 'seconds=3600'];
    const { child, report } = await startLoad(all, undefined, (line) => {
      const gap = gapOf(line);
      if (gap !== null) gaps.push(gap);
      else if (line === 'START') isWarm();
    });
    // It ends before that only when something is wrong.
    await Promise.race([warm, report]);
    return new LoudLoad(gaps, child, report);
  }

  /** By the clock of the gaps. */
  nowMs(): number {
    return Number(process.hrtime.bigint()) / 1e6;
  }

  stop(): Promise<LoadReport> {
    this.child.kill('SIGTERM');
    return this.report;
  }
}
