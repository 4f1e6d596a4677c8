/** What to ask for next: the same choices as nbdload makes, for loads that are written in TypeScript. */

export interface WorkloadOptions {
  readonly op: 'read' | 'write' | 'writeflush' | 'mix' | 'fill';
  readonly pattern: 'random' | 'sequential';
  readonly blocks: number;
  readonly readPercent: number;
  readonly flushEvery: number;
  readonly seed: number;
}

export const Kind = { READ: 0, WRITE: 1, FLUSH: 2, NONE: 3 } as const;
export type Kind = (typeof Kind)[keyof typeof Kind];

export class Workload {
  /** Of the last `next` that was a read or a write. */
  block = 0;
  private readonly options: WorkloadOptions;
  private state: number;
  private cursor = 0;
  private sinceFlush = 0;

  constructor(options: WorkloadOptions) {
    this.options = options;
    this.state = (Math.imul(options.seed + 1, 0x9e3779b9) ^ 0x2545f491) | 1;
  }

  next(): Kind {
    const { op, pattern, blocks, flushEvery, readPercent } = this.options;
    if (flushEvery > 0 && this.sinceFlush++ === flushEvery) {
      this.sinceFlush = 0;
      return Kind.FLUSH;
    }
    if (op === 'fill') {
      if (this.cursor === blocks) return Kind.NONE;
      this.block = this.cursor++;
      return Kind.WRITE;
    }
    if (pattern === 'random') this.block = this.random() % blocks;
    else {
      this.block = this.cursor;
      this.cursor = (this.cursor + 1) % blocks;
    }
    if (op === 'mix') return this.random() % 100 < readPercent ? Kind.READ : Kind.WRITE;
    return op === 'read' ? Kind.READ : Kind.WRITE;
  }

  /** xorshift, 32 bits. */
  private random(): number {
    let x = this.state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.state = x;
    return x >>> 0;
  }
}
