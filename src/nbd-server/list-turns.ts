/** An answer to LIST may have megabytes, and stays with who is slow to take it: so many are told at a time, others wait. */
const AT_ONCE = 4;

export class ListTurns {
  private free = AT_ONCE;
  private readonly waiting: (() => void)[] = [];

  /** Resolves to what gives the turn back, once. */
  async take(): Promise<() => void> {
    if (this.free > 0) this.free--;
    else await new Promise<void>((resolve) => this.waiting.push(resolve));
    let taken = true;
    return () => {
      if (!taken) return;
      taken = false;
      const next = this.waiting.shift();
      if (next === undefined) this.free++;
      else next();
    };
  }
}
