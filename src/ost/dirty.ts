import { GiB } from '../common/units.js';
import type { ChunkDirt, ChunkFile } from './chunk-file.js';
import type { DirtyWatch } from './dirty-watch.js';
import type { OstTuning } from './tuning.js';

const BLOCK_BYTES = 4096;
/** Larger chunks count every write in full: their map of dirty blocks would be too large. */
const MAPPED_CHUNK_MAX_BYTES = 4 * GiB;
/** What is dirty lies close together when this share of its blocks has the block before it dirty as well. */
const CONTIGUOUS_SHARE = 7 / 8;
/** Share of the limit from which on scattered dirt is written back. */
const SCATTERED_SHARE = 0.75;
/** Limit while the whole machine has nearly as much dirty as the kernel lets pass. */
const TIGHT_SHARE = 0.5;

/** An answered-to-be write, held while too much is dirty. */
export interface HeldWrite {
  dirtyReleased(): void;
}

/**
 * Bounds what was written and is not yet on its way to the disk, so that no fdatasync finds a backlog of
 * seconds. Each file is told to write back after some MiB where they lie close together: that is cheap and
 * keeps the disk busy. Scattered blocks cost more to write back than to write, and are often written again
 * soon, so they may gather until the limit is near. While all files together have more than the limit, answers to
 * writes are held. A writeback is over when the kernel has given the pages to the disk's queue.
 *
 * The limit is halved while the machine as a whole, other OSTs included, comes close to what the kernel allows:
 * beyond that it would make us wait inside a system call, where our answers would wait along.
 */
export class DirtyTracker {
  totalBytes = 0;
  private readonly writebackBytes: number;
  private readonly limitBytes: number;
  private readonly tightLimitBytes: number;
  private readonly watch: DirtyWatch;
  private readonly dirtyChunks = new Set<ChunkFile>();
  private held: HeldWrite[] = [];

  constructor(bounds: Pick<OstTuning, 'writebackBytes' | 'dirtyLimitBytes'>, watch: DirtyWatch) {
    const { writebackBytes, dirtyLimitBytes } = bounds;
    this.writebackBytes = writebackBytes;
    this.limitBytes = Math.max(dirtyLimitBytes, writebackBytes);
    this.tightLimitBytes = Math.max(dirtyLimitBytes * TIGHT_SHARE, writebackBytes);
    this.watch = watch;
  }

  get overLimit(): boolean {
    return this.exceeds(this.totalBytes, 1);
  }

  hold(write: HeldWrite): void {
    this.held.push(write);
    // The limit may have become tight since the last write was counted.
    for (const chunk of this.dirtyChunks) this.startWriteback(chunk);
  }

  get heldCount(): number {
    return this.held.length;
  }

  wrote(chunk: ChunkFile, offset: number, length: number): void {
    const dirt = chunk.dirt;
    const added = this.mark(chunk, offset, length);
    if (added === 0) return;
    if (dirt.bytes === 0) this.dirtyChunks.add(chunk);
    dirt.bytes += added;
    this.totalBytes += added;
    if (offset < dirt.fromOffset) dirt.fromOffset = offset;
    if (offset + length > dirt.toOffset) dirt.toOffset = offset + length;
    if (this.due(dirt)) this.startWriteback(chunk);
    // Many files with little each.
    if (this.overLimit) for (const other of this.dirtyChunks) this.startWriteback(other);
  }

  writebackEnded(chunk: ChunkFile, result: number): void {
    const dirt = chunk.dirt;
    dirt.writing = false;
    this.subtract(dirt.leavingBytes);
    dirt.leavingBytes = 0;
    if (result < 0) {
      // Only a sync tells what became of the pages.
      chunk.sync.add({ syncDone: () => {} });
    } else if (this.due(dirt) || (this.overLimit && dirt.bytes > 0)) {
      this.startWriteback(chunk);
    }
    chunk.object.chunkSettled(chunk);
  }

  syncStarted(chunk: ChunkFile): void {
    chunk.dirt.syncingBytes = chunk.dirt.bytes;
    this.clear(chunk);
  }

  syncEnded(chunk: ChunkFile): void {
    this.subtract(chunk.dirt.syncingBytes);
    chunk.dirt.syncingBytes = 0;
  }

  /** What is dirty of it will never get to the disk: the file goes. */
  forget(chunk: ChunkFile): void {
    const { bytes } = chunk.dirt;
    this.clear(chunk);
    this.subtract(bytes);
  }

  /** Answers held writes at once, for instance because their session has ended: they are looked at again. */
  releaseAll(): void {
    const held = this.held;
    this.held = [];
    for (const write of held) write.dirtyReleased();
  }

  private due(dirt: ChunkDirt): boolean {
    const { bytes } = dirt;
    if (bytes < this.writebackBytes) return false;
    if (dirt.contiguousBytes >= bytes * CONTIGUOUS_SHARE) return true;
    return this.exceeds(bytes, SCATTERED_SHARE);
  }

  /** More than that share of the limit. The machine is looked at only where it makes a difference. */
  private exceeds(bytes: number, share: number): boolean {
    if (bytes <= this.tightLimitBytes * share) return false;
    return bytes > this.limitBytes * share || this.watch.tight();
  }

  private startWriteback(chunk: ChunkFile): void {
    const dirt = chunk.dirt;
    if (dirt.writing || chunk.file === null || dirt.bytes === 0) return;
    dirt.writing = true;
    dirt.leavingBytes = dirt.bytes;
    dirt.op.fileOffset = Math.floor(dirt.fromOffset / BLOCK_BYTES) * BLOCK_BYTES;
    dirt.op.lengthBytes = dirt.toOffset - dirt.op.fileOffset;
    this.clear(chunk);
    chunk.file.writeback(dirt.op);
  }

  private clear(chunk: ChunkFile): void {
    const dirt = chunk.dirt;
    dirt.bytes = 0;
    dirt.contiguousBytes = 0;
    dirt.fromOffset = Number.MAX_SAFE_INTEGER;
    dirt.toOffset = 0;
    dirt.blocks?.fill(0);
    this.dirtyChunks.delete(chunk);
  }

  private subtract(bytes: number): void {
    this.totalBytes -= bytes;
    if (this.held.length > 0 && !this.overLimit) this.releaseAll();
  }

  /** Bytes of blocks that were not dirty before. */
  private mark(chunk: ChunkFile, offset: number, length: number): number {
    const { dirt } = chunk;
    const first = Math.floor(offset / BLOCK_BYTES);
    const last = Math.floor((offset + length - 1) / BLOCK_BYTES);
    let { blocks } = dirt;
    if (blocks === null) {
      if (chunk.sizeBytes > MAPPED_CHUNK_MAX_BYTES) {
        const goesOn = dirt.bytes > 0 && offset === dirt.toOffset;
        dirt.contiguousBytes += goesOn ? length : Math.max(0, length - BLOCK_BYTES);
        return length;
      }
      blocks = dirt.blocks = new Uint32Array(Math.ceil(chunk.sizeBytes / BLOCK_BYTES / 32));
    }
    let added = 0;
    let contiguous = 0;
    let beforeDirty = first > 0 && (blocks[(first - 1) >>> 5]! & (1 << ((first - 1) & 31))) !== 0;
    for (let block = first; block <= last; block++) {
      const bit = 1 << (block & 31);
      const word = blocks[block >>> 5]!;
      if ((word & bit) === 0) {
        blocks[block >>> 5] = word | bit;
        added += BLOCK_BYTES;
        if (beforeDirty) contiguous += BLOCK_BYTES;
      }
      beforeDirty = true;
    }
    dirt.contiguousBytes += contiguous;
    return added;
  }
}
