import { RegionSet } from './region-set.js';

/**
 * What was written since the last seal, and so may have to be reconciled after a crash: regions, counted up to a
 * limit beyond which it is only known that there are more.
 */
export class Unsealed {
  /** Some region may be newer than the last seal. */
  any = false;
  /** When the oldest of it was written. */
  sinceMs = 0;
  private readonly regionSizeBytes: number;
  private readonly regionsPerChunk: number;
  private readonly limit: number;
  private written: RegionSet;
  /** Of the seal on its way. */
  private sealing: RegionSet | null = null;
  private sealingSinceMs = 0;
  /** The last region noted: most writes are near the one before. */
  private lastRegion = -1;

  constructor(regionSizeBytes: number, regionsPerChunk: number, limitBytes: number) {
    this.regionSizeBytes = regionSizeBytes;
    this.regionsPerChunk = regionsPerChunk;
    this.limit = Math.max(1, Math.ceil(limitBytes / regionSizeBytes));
    this.written = new RegionSet(regionsPerChunk);
  }

  /** At most this has to be compared after a crash now, or the limit and more. */
  get bytes(): number {
    return (this.written.size + (this.sealing?.size ?? 0)) * this.regionSizeBytes;
  }

  /** Some of it is in no seal on record: a seal on its way may yet fail. */
  get pending(): boolean {
    return this.any || this.sealing !== null;
  }

  note(start: number, end: number, nowMs: number): void {
    if (!this.any) {
      this.any = true;
      this.sinceMs = nowMs;
    }
    const first = Math.floor(start / this.regionSizeBytes);
    if (first === this.lastRegion && end <= (first + 1) * this.regionSizeBytes) return;
    for (let at = first; at * this.regionSizeBytes < end && this.written.size < this.limit; at++) {
      this.written.add(Math.floor(at / this.regionsPerChunk), at % this.regionsPerChunk);
      this.lastRegion = at;
    }
  }

  /** A seal begins: what is noted from here on is newer. `marked` regions may be so already. */
  begin(marked: boolean, nowMs: number): void {
    if (this.sealing === null) {
      this.sealing = this.written;
      this.sealingSinceMs = this.sinceMs;
    } else this.addAll(this.sealing, this.written);
    this.written = new RegionSet(this.regionsPerChunk);
    this.lastRegion = -1;
    this.any = marked;
    this.sinceMs = nowMs;
  }

  sealed(): void {
    this.sealing = null;
  }

  failed(): void {
    if (this.sealing === null) return;
    this.addAll(this.written, this.sealing);
    this.any = true;
    this.sinceMs = this.sealingSinceMs;
    this.sealing = null;
  }

  private addAll(into: RegionSet, from: RegionSet): void {
    for (const [chunk, region] of from) {
      if (into.size >= this.limit) return;
      into.add(chunk, region);
    }
  }
}
