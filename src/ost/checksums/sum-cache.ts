import type { PageSums } from './page-sums.js';
import { BLOCKS_PER_REGION } from './sum-record.js';

/** The checksums of one region in memory. */
export class CachedSums {
  readonly sums = new Uint32Array(BLOCKS_PER_REGION);
  page: PageSums | null = null;
  slot = 0;
  used = false;
}

/**
 * Decoded checksums of the regions read lately, 4 KiB each, made once and used again. Beyond the limit the least
 * recently used give way (second chance): reading some again costs some microseconds.
 */
export class SumCache {
  private readonly limit: number;
  private readonly entries: CachedSums[] = [];
  private readonly free: CachedSums[] = [];
  private hand = 0;

  constructor(limit: number) {
    this.limit = Math.max(1, limit);
  }

  /** An entry for a region that has none; its sums are whatever they were. */
  take(page: PageSums, slot: number): CachedSums {
    const entry = this.free.pop() ?? this.make();
    entry.page = page;
    entry.slot = slot;
    entry.used = true;
    return entry;
  }

  /** Its page does not name it any more. */
  release(entry: CachedSums): void {
    entry.page = null;
    this.free.push(entry);
  }

  private make(): CachedSums {
    if (this.entries.length < this.limit) {
      const entry = new CachedSums();
      this.entries.push(entry);
      return entry;
    }
    // No entry is free: every one has a page.
    for (;;) {
      if (this.hand >= this.entries.length) this.hand = 0;
      const entry = this.entries[this.hand++]!;
      if (!entry.used) {
        entry.page!.evicted(entry.slot);
        return entry;
      }
      entry.used = false;
    }
  }
}
