import { LIMITS } from '../../common/limits.js';
import type { ChunkFile, ChunkWaiter } from '../chunk-file.js';

const REGION_BYTES = LIMITS.regionSizeBytes;

/** For the whole chunk. */
export const ALL_REGIONS = -2;
const NONE = -1;

/**
 * Keeps changes of a chunk out of one region, or of all, while blocks are moved between its versions there. Reads go on: what moves
 * is the same in both places.
 */
export class ChangeLock {
  private region = NONE;
  private readonly waiting: ChunkWaiter[] = [];
  private readonly changing = new Map<number, number>();
  private wanted: (() => void) | null = null;
  private turn: Promise<void> = Promise.resolve();

  /** Whether a change of the range has to wait; then `waiter` is told when it may look again. */
  stops(offset: number, length: number, waiter: ChunkWaiter): boolean {
    if (this.region === NONE) return false;
    const first = Math.floor(offset / REGION_BYTES);
    const last = Math.floor((offset + length - 1) / REGION_BYTES);
    if (this.region !== ALL_REGIONS && (this.region < first || this.region > last)) return false;
    this.waiting.push(waiter);
    return true;
  }

  begin(offset: number, length: number): void {
    const last = Math.floor((offset + length - 1) / REGION_BYTES);
    for (let region = Math.floor(offset / REGION_BYTES); region <= last; region++) {
      this.changing.set(region, (this.changing.get(region) ?? 0) + 1);
    }
  }

  end(offset: number, length: number): void {
    const last = Math.floor((offset + length - 1) / REGION_BYTES);
    for (let region = Math.floor(offset / REGION_BYTES); region <= last; region++) {
      const left = this.changing.get(region)! - 1;
      if (left > 0) this.changing.set(region, left);
      else this.changing.delete(region);
      if (left === 0 && !this.isChanging()) this.wanted?.();
    }
  }

  /** Runs `work` while nothing else changes the region (ALL_REGIONS: any). One at a time. */
  with<T>(region: number, work: () => Promise<T>): Promise<T> {
    const run = this.turn.then(async () => {
      this.region = region;
      try {
        if (this.isChanging()) {
          await new Promise<void>((resolve) => {
            this.wanted = resolve;
          });
        }
        return await work();
      } finally {
        this.wanted = null;
        this.region = NONE;
        for (const waiter of this.waiting.splice(0)) waiter.chunkReady(0);
      }
    });
    this.turn = run.then(
      () => {},
      () => {},
    );
    return run;
  }

  private isChanging(): boolean {
    return this.region === ALL_REGIONS ? this.changing.size > 0 : this.changing.has(this.region);
  }
}

/** The lock of a chunk, made when it is first wanted. */
export function changeLock(chunk: ChunkFile): ChangeLock {
  chunk.lock ??= new ChangeLock();
  return chunk.lock;
}
