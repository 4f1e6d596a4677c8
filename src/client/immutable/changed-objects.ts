/** Objects that are to be looked at; where more change than that between two looks, all are. */
const CHANGED = 10_000;
/** What changed through another process that is gone, and what was lost with errors, is found by a look at all. */
const ALL_MS = 3_600_000;

/** What a collector looks at next: what has changed here since the last look, and all objects now and then. */
export class ChangedObjects {
  private readonly ids = new Set<string>();
  private tooMany = false;
  private lookedAtAllMs: number | null = null;

  /** It may have lost a reference, or is not written any more. */
  note(id: string): void {
    if (this.ids.size >= CHANGED) this.tooMany = true;
    else this.ids.add(id);
  }

  forget(id: string): void {
    this.ids.delete(id);
  }

  known(): string[] {
    return [...this.ids];
  }

  isAllDue(nowMs: number): boolean {
    return this.tooMany || this.lookedAtAllMs === null || nowMs - this.lookedAtAllMs >= ALL_MS;
  }

  /** From here on one looks at all: what there was before is among them. */
  beginAll(): void {
    this.ids.clear();
    this.tooMany = false;
    this.lookedAtAllMs = null;
  }

  /** All were looked at, the last at `nowMs`. */
  endAll(nowMs: number): void {
    this.lookedAtAllMs = nowMs;
  }
}
