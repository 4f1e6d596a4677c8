import { LIMITS } from '../../common/limits.js';
import type { ChunkFile } from '../chunk-file.js';
import { forEachData } from './data-runs.js';
import { BLOCKS_PER_REGION, hasBit, LAYER_BLOCK_BYTES } from './zero-bits.js';
import type { ZeroLog } from './zero-log.js';

const REGION_BYTES = LIMITS.regionSizeBytes;
const UNKNOWN = 0xffff;
/** Owners of a block: nothing, the version itself, or (from 2 on) a place in the chunk's stack. */
export const NOBODY = 0;
export const ITSELF = 1;
/** Of a range that is not of one. */
export const SEVERAL = -1;

/** Of which version each block of a region is. */
export class RegionOwners {
  readonly chunk: ChunkFile;
  readonly region: number;
  readonly owners = new Uint16Array(BLOCKS_PER_REGION);
  used = true;
  /** Its place in the list of all. */
  index = 0;

  constructor(chunk: ChunkFile, region: number) {
    this.chunk = chunk;
    this.region = region;
  }
}

/**
 * For chunks that lie over others: which file each block is in. Made from the file systems' own maps (SEEK_DATA) and the
 * records of zeroes when a region is first touched, kept true by writes, forgotten least recently used first. So the
 * depth of a chain costs at the first touch of a region and not afterwards.
 */
export class LayerMaps {
  private readonly zeros: ZeroLog;
  private readonly limit: number;
  private readonly all: RegionOwners[] = [];
  private hand = 0;
  /** For metrics and tests. */
  built = 0;

  constructor(zeros: ZeroLog, limit: number) {
    this.zeros = zeros;
    this.limit = Math.max(1, limit);
  }

  get count(): number {
    return this.all.length;
  }

  /** Owners of a region's blocks; true until the next change, and to be changed only through this class. */
  owners(chunk: ChunkFile, region: number): Uint16Array {
    let found = chunk.owners.get(region);
    if (found === undefined) found = this.build(chunk, region);
    found.used = true;
    return found.owners;
  }

  /** The file that an owner of a block of this chunk stands for. */
  file(chunk: ChunkFile, owner: number): ChunkFile {
    return stackOf(chunk)[owner - 1]!;
  }

  /** The one owner of all blocks of a range, or SEVERAL. */
  soleOwner(chunk: ChunkFile, offset: number, length: number): number {
    let sole = -1;
    let block = Math.floor(offset / LAYER_BLOCK_BYTES);
    const last = Math.floor((offset + length - 1) / LAYER_BLOCK_BYTES);
    while (block <= last) {
      const region = Math.floor(block / BLOCKS_PER_REGION);
      const owners = this.owners(chunk, region);
      const start = region * BLOCKS_PER_REGION;
      const end = Math.min(last, start + BLOCKS_PER_REGION - 1);
      for (; block <= end; block++) {
        const owner = owners[block - start]!;
        if (sole === -1) sole = owner;
        else if (sole !== owner) return SEVERAL;
      }
    }
    return sole;
  }

  /** Runs of one owner in a range, in order; the first and last are cut to the range. */
  forEachRun(
    chunk: ChunkFile,
    offset: number,
    length: number,
    onRun: (owner: number, offset: number, length: number) => void,
  ): void {
    const end = offset + length;
    let from = offset;
    let current = -1;
    for (let at = offset; at < end; ) {
      const block = Math.floor(at / LAYER_BLOCK_BYTES);
      const region = Math.floor(block / BLOCKS_PER_REGION);
      const owner = this.owners(chunk, region)[block - region * BLOCKS_PER_REGION]!;
      if (owner !== current) {
        if (at > from) onRun(current, from, at - from);
        current = owner;
        from = at;
      }
      at = (block + 1) * LAYER_BLOCK_BYTES;
    }
    if (end > from) onRun(current, from, end - from);
  }

  /** A change of the version's own has been made: of what is known here and over it. Whole blocks count from their first byte on. */
  changed(chunk: ChunkFile, offset: number, length: number, owner: number): void {
    let block = Math.floor(offset / LAYER_BLOCK_BYTES);
    const last = Math.floor((offset + length - 1) / LAYER_BLOCK_BYTES);
    while (block <= last) {
      const region = Math.floor(block / BLOCKS_PER_REGION);
      const start = region * BLOCKS_PER_REGION;
      const end = Math.min(last, start + BLOCKS_PER_REGION - 1);
      chunk.owners.get(region)?.owners.fill(owner, block - start, end - start + 1);
      if (chunk.above.size > 0) this.forgetAbove(chunk, region);
      block = end + 1;
    }
  }

  /** What a range of the version looks like has to be found out anew, here and in all that lies over it. */
  forget(chunk: ChunkFile, offset: number, length: number): void {
    const last = Math.floor((offset + length - 1) / REGION_BYTES);
    for (let region = Math.floor(offset / REGION_BYTES); region <= last; region++) {
      this.remove(chunk, region);
      this.forgetAbove(chunk, region);
    }
  }

  /** A file has come or gone below or in this version: nothing that was known of it, or of what lies over it, holds. */
  forgetAll(chunk: ChunkFile): void {
    for (const region of [...chunk.owners.keys()]) this.remove(chunk, region);
    chunk.stack = null;
    for (const above of chunk.above) this.forgetAll(above);
  }

  private forgetAbove(chunk: ChunkFile, region: number): void {
    for (const above of chunk.above) {
      this.remove(above, region);
      this.forgetAbove(above, region);
    }
  }

  private build(chunk: ChunkFile, region: number): RegionOwners {
    if (this.all.length >= this.limit) this.evict();
    const made = new RegionOwners(chunk, region);
    const { owners } = made;
    this.built++;
    owners.fill(UNKNOWN);
    const start = region * REGION_BYTES;
    let left = owners.length;
    const stack = stackOf(chunk);
    for (let i = 0; i < stack.length && left > 0; i++) {
      const layer = stack[i]!;
      const owner = i + 1;
      if (layer.file !== null) {
        forEachData(layer.file, start, start + REGION_BYTES, (from, end) => {
          const first = Math.floor((from - start) / LAYER_BLOCK_BYTES);
          const last = Math.ceil((end - start) / LAYER_BLOCK_BYTES);
          for (let block = first; block < last; block++) {
            if (owners[block] !== UNKNOWN) continue;
            owners[block] = owner;
            left--;
          }
          return left > 0;
        });
      }
      const bits = i === stack.length - 1 ? null : this.zeros.bits(layer, region);
      if (bits === null) continue;
      for (let block = 0; block < owners.length; block++) {
        if (owners[block] !== UNKNOWN || !hasBit(bits, block)) continue;
        owners[block] = NOBODY;
        left--;
      }
    }
    if (left > 0) for (let i = 0; i < owners.length; i++) if (owners[i] === UNKNOWN) owners[i] = NOBODY;
    made.index = this.all.push(made) - 1;
    chunk.owners.set(region, made);
    return made;
  }

  private evict(): void {
    for (let tries = this.all.length * 2; tries > 0; tries--) {
      if (this.hand >= this.all.length) this.hand = 0;
      const one = this.all[this.hand]!;
      if (!one.used) return this.remove(one.chunk, one.region);
      one.used = false;
      this.hand++;
    }
  }

  private remove(chunk: ChunkFile, region: number): void {
    const one = chunk.owners.get(region);
    if (one === undefined) return;
    chunk.owners.delete(region);
    const last = this.all.pop()!;
    if (last === one) return;
    this.all[one.index] = last;
    last.index = one.index;
  }
}

/** Whether there is anything below that may show. */
export function isLayered(chunk: ChunkFile): boolean {
  return chunk.below !== null && stackOf(chunk).length > 1;
}

/**
 * The version, and those below that have something, nearest first. A lower one without a file may still say that
 * something is zeros.
 */
function stackOf(chunk: ChunkFile): readonly ChunkFile[] {
  if (chunk.stack !== null) return chunk.stack;
  const stack = [chunk];
  for (let lower = chunk.below; lower !== null; lower = lower.below) {
    if (lower.file !== null || lower.recorded) stack.push(lower);
  }
  chunk.stack = stack;
  return stack;
}
