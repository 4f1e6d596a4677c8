import { createInterface } from 'node:readline';
import { buildLoad, type LoadReport } from './load.js';
import { spawnPinned } from './process.js';

/** A time in which nothing was answered, by the monotonic clock. */
export interface Gap {
  readonly endMs: number;
  readonly lengthMs: number;
}

/** A load that runs until it is stopped, and tells of every gap of a millisecond and more in its answers. */
export class LoudLoad {
  readonly gaps: Gap[] = [];
  private readonly child: ReturnType<typeof spawnPinned>;
  private readonly done: Promise<LoadReport>;

  private constructor(child: ReturnType<typeof spawnPinned>, onStart: () => void) {
    this.child = child;
    let said = '';
    child.stderr!.on('data', (bytes: Buffer) => (said += bytes.toString()));
    let last = '';
    createInterface({ input: child.stdout! }).on('line', (line) => {
      const gap = /^GAP (\d+) (\d+)$/.exec(line);
      if (gap !== null) this.gaps.push({ endMs: Number(gap[1]) / 1000, lengthMs: Number(gap[2]) / 1000 });
      else if (line === 'START') onStart();
      else last = line;
    });
    this.done = new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code) => {
        if (code === 0) resolve(JSON.parse(last) as LoadReport);
        else reject(new Error(`nbdload ended with ${code}: ${said}`));
      });
    });
  }

  /** Resolves when it has warmed up. */
  static async start(args: readonly string[]): Promise<LoudLoad> {
    const all = [...args, 'gaps=1', 'warmup=2', 'seconds=3600'];
    const child = spawnPinned(await buildLoad(), all);
    return new Promise((resolve, reject) => {
      const load = new LoudLoad(child, () => resolve(load));
      load.done.catch(reject);
    });
  }

  /** By the clock of the gaps. */
  nowMs(): number {
    return Number(process.hrtime.bigint()) / 1e6;
  }

  stop(): Promise<LoadReport> {
    this.child.kill('SIGTERM');
    return this.done;
  }
}
