import { assert } from '../common/assert.js';
import { LIMITS } from '../common/limits.js';

/**
 * A set of regions of one object, as (chunk, region index) pairs; a bitmap a chunk, so that the whole of a
 * large volume fits in little: 64 TiB of 4 MiB regions are 2 MiB.
 */
export class RegionSet {
  readonly regionsPerChunk: number;
  private readonly chunks = new Map<number, Uint32Array>();
  private total = 0;

  constructor(regionsPerChunk: number) {
    this.regionsPerChunk = regionsPerChunk;
  }

  get size(): number {
    return this.total;
  }

  has(chunk: number, region: number): boolean {
    const words = this.chunks.get(chunk);
    return words !== undefined && ((words[region >>> 5]! >>> (region & 31)) & 1) === 1;
  }

  add(chunk: number, region: number): void {
    let words = this.chunks.get(chunk);
    if (words === undefined) {
      words = new Uint32Array(Math.ceil(this.regionsPerChunk / 32));
      this.chunks.set(chunk, words);
    }
    const bit = (1 << (region & 31)) >>> 0;
    if ((words[region >>> 5]! & bit) !== 0) return;
    words[region >>> 5]! |= bit;
    this.total++;
  }

  delete(chunk: number, region: number): void {
    const words = this.chunks.get(chunk);
    const bit = (1 << (region & 31)) >>> 0;
    if (words === undefined || (words[region >>> 5]! & bit) === 0) return;
    words[region >>> 5]! &= ~bit;
    this.total--;
    if (words.every((word) => word === 0)) this.chunks.delete(chunk);
  }

  /** Rows as `ost.regions` gives them: chunk, region, epoch. */
  addRows(rows: readonly number[]): void {
    for (let i = 0; i + 2 < rows.length; i += 3) this.add(rows[i]!, rows[i + 1]!);
  }

  /** Every region that the byte range of the object touches. */
  addRange(start: number, end: number, regionSizeBytes: number): void {
    // Of more than the largest volume there would be no end.
    assert(end <= LIMITS.volumeSizeBytes, 'regions behind the end of any volume');
    for (let at = Math.floor(start / regionSizeBytes); at * regionSizeBytes < end; at++) {
      this.add(Math.floor(at / this.regionsPerChunk), at % this.regionsPerChunk);
    }
  }

  overlaps(start: number, end: number, regionSizeBytes: number): boolean {
    if (this.total === 0) return false;
    for (let at = Math.floor(start / regionSizeBytes); at * regionSizeBytes < end; at++) {
      if (this.has(Math.floor(at / this.regionsPerChunk), at % this.regionsPerChunk)) return true;
    }
    return false;
  }

  /** In order of chunk and region; the set may be changed meanwhile. */
  *[Symbol.iterator](): Generator<[chunk: number, region: number]> {
    for (const chunk of [...this.chunks.keys()].sort((a, b) => a - b)) {
      const words = this.chunks.get(chunk);
      if (words === undefined) continue;
      for (let region = 0; region < this.regionsPerChunk; region++) {
        if ((words[region >>> 5]! >>> (region & 31)) & 1) yield [chunk, region];
      }
    }
  }
}
