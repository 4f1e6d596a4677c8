/**
 * Regions of one object that were copied here whole from a sealed source, so that a resync that begins anew need
 * not copy them again (I9). In memory: what this process does not remember is copied again, and a loss forgets all.
 */
export class CopiedRegions {
  /** Lowest session epoch under which one of them was copied: later writes carry a tag of at least that. */
  since = 0;
  private readonly chunks = new Map<number, Uint32Array>();

  has(chunk: number, region: number): boolean {
    const words = this.chunks.get(chunk);
    return words !== undefined && ((words[region >>> 5] ?? 0) >>> (region & 31)) % 2 === 1;
  }

  add(chunk: number, region: number, sessionEpoch: number): void {
    this.since = this.since === 0 ? sessionEpoch : Math.min(this.since, sessionEpoch);
    let words = this.chunks.get(chunk) ?? new Uint32Array(8);
    if (region >>> 5 >= words.length) {
      const wider = new Uint32Array(Math.max(words.length * 2, (region >>> 5) + 1));
      wider.set(words);
      words = wider;
    }
    words[region >>> 5]! |= 1 << (region & 31);
    this.chunks.set(chunk, words);
  }

  clear(): void {
    this.since = 0;
    this.chunks.clear();
  }
}
