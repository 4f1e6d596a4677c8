/** Has no more than some actions go on at a time; the others wait in line. */
export class Gate {
  private readonly most: number;
  private readonly line: (() => void)[] = [];
  private running = 0;

  constructor(most: number) {
    this.most = most;
  }

  async run<T>(action: () => Promise<T>): Promise<T> {
    if (!this.hasRoom()) await this.inLine();
    try {
      return await action();
    } finally {
      this.leave();
    }
  }

  /** For what ends elsewhere. @returns what lets the next one in; once */
  async enter(): Promise<() => void> {
    if (!this.hasRoom()) await this.inLine();
    let inside = true;
    return () => {
      if (inside) this.leave();
      inside = false;
    };
  }

  private hasRoom(): boolean {
    if (this.running >= this.most) return false;
    this.running++;
    return true;
  }

  private inLine(): Promise<void> {
    return new Promise((resolve) => this.line.push(resolve));
  }

  private leave(): void {
    const next = this.line.shift();
    if (next === undefined) this.running--;
    else next();
  }
}
