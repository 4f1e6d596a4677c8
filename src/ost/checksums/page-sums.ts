import { REGIONS_PER_PAGE } from '../record-codec.js';
import type { Records } from '../records.js';
import type { RegionPage } from '../regions.js';
import type { Change } from '../store.js';
import type { CachedSums, SumCache } from './sum-cache.js';
import { BLOCKS_PER_REGION, decodeSums, epochOfSums, sumsKey } from './sum-record.js';

const UNKNOWN = -1;
const BITMAP_WORDS = BLOCKS_PER_REGION / 32;

/**
 * What is known of the checksums of 256 regions. Two questions, answered apart:
 *
 * - Would the record on disk be trusted after a restart? Only while its epoch is the region's (`onDisk`). Before data
 *   is changed that must have ended: a write with a newer tag ends it by raising the region's epoch, which it
 *   does anyway; one with an older tag (a copy) has the record removed, in the commit of intents.
 * - Does the sum of this block hold now? When the record held when it was read or made by this process (`live`) and
 *   the block was not changed since (`touched`): every change passes here, so that is known as long as the process lives.
 */
export class PageSums {
  readonly page: RegionPage;
  private readonly records: Records;
  private readonly cache: SumCache;
  private readonly onDropped: (page: RegionPage) => void;
  /** Epoch of the region's record, 0 when there is none, UNKNOWN before it was looked for. */
  private readonly onDisk = new Float64Array(REGIONS_PER_PAGE).fill(UNKNOWN);
  /** Epoch of the record whose sums hold for all blocks not touched; 0 when there are none. */
  private readonly live = new Float64Array(REGIONS_PER_PAGE);
  private readonly touched: (Uint32Array | null)[] = new Array(REGIONS_PER_PAGE).fill(null);
  private readonly cached: (CachedSums | null)[] = new Array(REGIONS_PER_PAGE).fill(null);
  /** Changes of the region on their way to the file. */
  readonly changing = new Uint16Array(REGIONS_PER_PAGE);
  /** Counts changes begun, so that who looked away knows. */
  readonly changes = new Uint32Array(REGIONS_PER_PAGE);
  /** Number of the file's first sync that covers the last change; 0 when all are covered. */
  readonly changedAtSync = new Uint32Array(REGIONS_PER_PAGE);
  /** Regions whose sums somebody is taking: one at a time. */
  readonly beingTaken = new Uint8Array(REGIONS_PER_PAGE);
  /** Records that the commit being prepared removes. */
  private dropping: number[] = [];

  constructor(page: RegionPage, records: Records, cache: SumCache, onDropped: (page: RegionPage) => void) {
    this.page = page;
    this.records = records;
    this.cache = cache;
    this.onDropped = onDropped;
    const { sync } = page.chunk;
    // The page may have been in memory before, and its last changes not be on disk yet.
    if (!sync.idle) this.changedAtSync.fill(sync.started + 1);
  }

  /** Whether a restart would trust the record: nothing may be changed before that is over. */
  trustedOnDisk(slot: number): boolean {
    const epoch = this.page.durable[slot]!;
    if (epoch === 0) return false;
    if (this.onDisk[slot] === UNKNOWN) this.look(slot);
    return this.onDisk[slot] === epoch;
  }

  /** Its sums hold for the blocks that `isTouched` does not name. */
  holds(slot: number): boolean {
    if (this.onDisk[slot] === UNKNOWN) this.look(slot);
    return this.live[slot] !== 0;
  }

  /** The sums of a region for which `holds` is true; null when they turn out to be gone. No allocation while cached. */
  sums(slot: number): Uint32Array | null {
    const entry = this.cached[slot];
    if (entry != null) {
      entry.used = true;
      return entry.sums;
    }
    return this.readAgain(slot);
  }

  isTouched(slot: number, block: number): boolean {
    const bits = this.touched[slot];
    return bits != null && (bits[block >>> 5]! & (1 << (block & 31))) !== 0;
  }

  /** Something of it was changed since its sums were taken. */
  hasTouched(slot: number): boolean {
    return this.touched[slot] !== null;
  }

  /** Blocks `first` to `last` are about to be changed. */
  touch(slot: number, first: number, last: number): void {
    this.changes[slot]!++;
    if (this.live[slot] === 0) return;
    const bits = (this.touched[slot] ??= new Uint32Array(BITMAP_WORDS));
    for (let block = first; block <= last; block++) bits[block >>> 5]! |= 1 << (block & 31);
  }

  /** The next commit removes the record. */
  drop(slot: number): void {
    if (!this.dropping.includes(slot)) this.dropping.push(slot);
  }

  addDrops(changes: Change[]): void {
    for (const slot of this.dropping) changes.push({ key: this.key(slot), value: null });
  }

  settleDrops(durable: boolean): void {
    if (this.dropping.length === 0) return;
    if (durable) {
      for (const slot of this.dropping) this.onDisk[slot] = 0;
      this.onDropped(this.page);
    }
    this.dropping.length = 0;
  }

  /**
   * New sums of a region nobody changes now, on their way to the records as of epoch `epoch`: from this moment on
   * they hold, and a change has them removed, in a later commit.
   */
  install(slot: number, epoch: number, sums: Uint32Array): void {
    const entry = (this.cached[slot] ??= this.cache.take(this, slot));
    entry.used = true;
    entry.sums.set(sums);
    this.onDisk[slot] = epoch;
    this.live[slot] = epoch;
    this.touched[slot] = null;
  }

  /** Nobody knows whether they got to the records: they are looked for when next needed. */
  notInstalled(slot: number): void {
    this.onDisk[slot] = UNKNOWN;
  }

  /** All records of the page are gone, and what they said is not so any more. */
  forgetAll(): void {
    for (let slot = 0; slot < REGIONS_PER_PAGE; slot++) this.forgetSlot(slot);
    this.onDisk.fill(0);
  }

  /** The cache has given the place of its sums to others. */
  evicted(slot: number): void {
    this.cached[slot] = null;
    if (this.onDisk[slot] !== this.live[slot]) this.forgetSlot(slot);
  }

  /** The page leaves memory. */
  release(): void {
    for (let slot = 0; slot < REGIONS_PER_PAGE; slot++) this.uncache(slot);
  }

  key(slot: number): Buffer {
    const { chunk, number } = this.page;
    return sumsKey(chunk.object.key, chunk.chunk, chunk.version, number * REGIONS_PER_PAGE + slot);
  }

  private look(slot: number): void {
    const epoch = this.page.durable[slot]!;
    this.forgetSlot(slot);
    this.onDisk[slot] = 0;
    // Never written: nothing to look for.
    if (epoch === 0) return;
    const value = this.records.value(this.key(slot));
    if (value === undefined) return;
    const found = epochOfSums(value);
    this.onDisk[slot] = found;
    if (found !== epoch) return;
    const entry = this.cache.take(this, slot);
    this.cached[slot] = entry;
    // A record that is damaged itself says nothing of the data; it is removed like one that holds.
    if (decodeSums(value, entry.sums)) this.live[slot] = epoch;
    else this.uncache(slot);
  }

  private readAgain(slot: number): Uint32Array | null {
    const value = this.records.value(this.key(slot));
    if (value !== undefined && epochOfSums(value) === this.live[slot]) {
      const entry = this.cache.take(this, slot);
      if (decodeSums(value, entry.sums)) {
        this.cached[slot] = entry;
        return entry.sums;
      }
      this.cache.release(entry);
    }
    this.forgetSlot(slot);
    return null;
  }

  private forgetSlot(slot: number): void {
    this.uncache(slot);
    this.live[slot] = 0;
    this.touched[slot] = null;
  }

  private uncache(slot: number): void {
    const entry = this.cached[slot];
    this.cached[slot] = null;
    if (entry != null) this.cache.release(entry);
  }
}
