import { LIMITS } from '../common/limits.js';
import type { PageSums } from './checksums/page-sums.js';
import type { ChunkFile } from './chunk-file.js';
import { REGIONS_PER_PAGE } from './record-codec.js';
import type { Records } from './records.js';

const REGION_BYTES = LIMITS.regionSizeBytes;
/** Ticks in which a written region is likely to be written again soon: 2 s. */
const RECENT_TICKS = 20;
const PAGE_SHIFT = 8;
const PAGE_MASK = REGIONS_PER_PAGE - 1;

/** Durable epochs of 256 regions, mirrored in memory. */
export class RegionPage {
  readonly chunk: ChunkFile;
  readonly number: number;
  readonly durable = new Float64Array(REGIONS_PER_PAGE);
  /** What the commit being prepared will make durable; null when nothing of this page is in it. */
  wanted: Float64Array | null = null;
  /** Tick of the last write: see RegionMirror. */
  readonly lastWritten = new Uint32Array(REGIONS_PER_PAGE);
  used = true;
  /** Commits and changes on their way to the file hold it. */
  pins = 0;
  /** Checksums of its regions; null where there are none kept. */
  sums: PageSums | null = null;
  /** Its place in the mirror's list. */
  index = 0;

  constructor(chunk: ChunkFile, number: number) {
    this.chunk = chunk;
    this.number = number;
  }
}

/**
 * The region epochs of open chunks, by pages that are read from the records when first needed and forgotten,
 * least recently used first (second chance), beyond a limit: reading one again costs a microsecond.
 */
export class RegionMirror {
  /** Rises ten times a second. */
  tick = RECENT_TICKS + 1;
  /** Makes what a page knows of checksums, where they are kept. */
  sumsOf: ((page: RegionPage) => PageSums) | null = null;
  private readonly records: Records;
  private readonly limit: number;
  private readonly pages: RegionPage[] = [];
  private hand = 0;

  constructor(records: Records, limit: number) {
    this.records = records;
    this.limit = Math.max(1, limit);
  }

  /**
   * Whether the durable epochs of every region of the range are at least `tag`, and no checksums of one would be
   * taken for right after a change. No allocation once a page is here.
   */
  covers(chunk: ChunkFile, offset: number, length: number, tag: number): boolean {
    let region = Math.floor(offset / REGION_BYTES);
    const last = Math.floor((offset + length - 1) / REGION_BYTES);
    for (; region <= last; region++) {
      const page = this.page(chunk, region);
      page.used = true;
      if (page.durable[region & PAGE_MASK]! < tag) return false;
      if (page.sums?.trustedOnDisk(region & PAGE_MASK)) return false;
      page.lastWritten[region & PAGE_MASK] = this.tick;
    }
    return true;
  }

  /** Highest durable epoch in the range. */
  highest(chunk: ChunkFile, offset: number, length: number): number {
    let region = Math.floor(offset / REGION_BYTES);
    const last = Math.floor((offset + length - 1) / REGION_BYTES);
    let epoch = 0;
    for (; region <= last; region++) {
      const page = this.page(chunk, region);
      page.used = true;
      const found = page.durable[region & PAGE_MASK]!;
      if (found > epoch) epoch = found;
    }
    return epoch;
  }

  /** Asks for `tag` on every region of the range; pages that were not in the commit yet are added to `into`. */
  want(chunk: ChunkFile, offset: number, length: number, tag: number, into: RegionPage[]): void {
    let region = Math.floor(offset / REGION_BYTES);
    const last = Math.floor((offset + length - 1) / REGION_BYTES);
    for (; region <= last; region++) {
      const page = this.page(chunk, region);
      // Asked in any case: what is not known when the epoch rises is lost.
      const trusted = page.sums?.trustedOnDisk(region & PAGE_MASK) === true;
      if (trusted && page.durable[region & PAGE_MASK]! >= tag) page.sums!.drop(region & PAGE_MASK);
      this.wantOne(page, region & PAGE_MASK, tag, into);
      page.lastWritten[region & PAGE_MASK] = this.tick;
    }
  }

  /**
   * Asks for `tag` on the regions of a chunk that were written lately, so that a steady writer does not wait.
   * @returns how many
   */
  wantRecent(chunk: ChunkFile, tag: number, into: RegionPage[]): number {
    let count = 0;
    for (const [page, i] of this.writtenLately(chunk)) {
      if (page.durable[i]! >= tag) continue;
      this.wantOne(page, i, tag, into);
      count++;
    }
    return count;
  }

  /** Regions of a chunk that were written lately, rising. */
  recent(chunk: ChunkFile): number[] {
    return Array.from(this.writtenLately(chunk), ([page, i]) => page.number * REGIONS_PER_PAGE + i);
  }

  private *writtenLately(chunk: ChunkFile): Generator<[RegionPage, number], undefined> {
    for (const page of chunk.pages) {
      if (page === undefined) continue;
      for (let i = 0; i < REGIONS_PER_PAGE; i++) {
        if (page.lastWritten[i]! >= this.tick - RECENT_TICKS) yield [page, i];
      }
    }
  }

  /** The commit is done: what was wanted is durable, or, after a failure, is not wanted any more. */
  settle(pages: readonly RegionPage[], durable: boolean): void {
    for (const page of pages) {
      if (durable) page.durable.set(page.wanted!);
      page.sums?.settleDrops(durable);
      page.wanted = null;
      page.pins--;
    }
  }

  forget(chunk: ChunkFile): void {
    for (const page of chunk.pages) if (page !== undefined) this.remove(page);
    chunk.pages.length = 0;
  }

  /** The page of a region, read now if need be. */
  page(chunk: ChunkFile, region: number): RegionPage {
    return chunk.pages[region >>> PAGE_SHIFT] ?? this.load(chunk, region >>> PAGE_SHIFT);
  }

  private wantOne(page: RegionPage, slot: number, tag: number, into: RegionPage[]): void {
    if (page.wanted === null) {
      page.wanted = Float64Array.from(page.durable);
      page.pins++;
      into.push(page);
    }
    if (page.wanted[slot]! < tag) page.wanted[slot] = tag;
  }

  private load(chunk: ChunkFile, number: number): RegionPage {
    if (this.pages.length >= this.limit) this.evict();
    const page = new RegionPage(chunk, number);
    this.records.readRegions(chunk.object.key, chunk.chunk, chunk.version, number, page.durable);
    if (this.sumsOf !== null) page.sums = this.sumsOf(page);
    page.index = this.pages.push(page) - 1;
    chunk.pages[number] = page;
    return page;
  }

  private evict(): void {
    for (let tries = this.pages.length * 2; tries > 0; tries--) {
      if (this.hand >= this.pages.length) this.hand = 0;
      const page = this.pages[this.hand]!;
      if (page.pins === 0 && !page.used) {
        page.chunk.pages[page.number] = undefined;
        this.remove(page);
        return;
      }
      page.used = false;
      this.hand++;
    }
  }

  private remove(page: RegionPage): void {
    page.sums?.release();
    const last = this.pages.pop()!;
    if (last === page) return;
    this.pages[page.index] = last;
    last.index = page.index;
  }
}
