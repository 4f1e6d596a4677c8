/**
 * Counts what is under way and tells when all that began before a moment has ended, while new work goes on. In
 * two generations: what is asked about is the one before, and the next question waits until that one is over.
 */
export class Drain {
  private readonly counts = [0, 0];
  private current = 0;
  private running: Promise<void> = Promise.resolve();
  private next: Promise<void> | null = null;
  private waiter: (() => void) | null = null;

  get size(): number {
    return this.counts[0]! + this.counts[1]!;
  }

  /** @returns the generation, for `end` */
  begin(): number {
    this.counts[this.current]!++;
    return this.current;
  }

  end(generation: number): void {
    if (--this.counts[generation]! > 0 || this.waiter === null || generation === this.current) return;
    const { waiter } = this;
    this.waiter = null;
    waiter();
  }

  /** Resolves when everything begun before now has ended; those who ask while an earlier answer is due share one. */
  drained(): Promise<void> {
    if (this.size === 0) return Promise.resolve();
    this.next ??= this.running.then(() => {
      this.next = null;
      this.running = this.once();
      return this.running;
    });
    return this.next;
  }

  private once(): Promise<void> {
    const before = this.current;
    this.current = 1 - before;
    if (this.counts[before] === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.waiter = resolve;
    });
  }
}
