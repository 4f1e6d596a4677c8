/** Has no more than some actions go on at a time; the others wait in line. */
export class Gate {
  private readonly most: number;
  private readonly line: (() => void)[] = [];
  private running = 0;

  constructor(most: number) {
    this.most = most;
  }

  async run<T>(action: () => Promise<T>): Promise<T> {
    if (this.running >= this.most) await new Promise<void>((resolve) => this.line.push(resolve));
    else this.running++;
    try {
      return await action();
    } finally {
      const next = this.line.shift();
      if (next === undefined) this.running--;
      else next();
    }
  }
}
