import { GiB } from '../common/units.js';
import type { ChunkDirt, ChunkFile } from './chunk-file.js';

const BLOCK_BYTES = 4096;
/** Larger chunks count every write in full: their map of dirty blocks would be too large. */
const MAPPED_CHUNK_MAX_BYTES = 4 * GiB;
/** What is dirty counts as scattered when it spans this many times its size. */
const SCATTERED_SPAN = 4;
/** Share of the limit from which on scattered dirt is written back. */
const SCATTERED_SHARE = 0.75;

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
 */
export class DirtyTracker {
  totalBytes = 0;
  private readonly writebackBytes: number;
  private readonly scatteredBytes: number;
  private readonly limitBytes: number;
  private readonly dirtyChunks = new Set<ChunkFile>();
  private held: HeldWrite[] = [];

  constructor(writebackBytes: number, limitBytes: number) {
    this.writebackBytes = writebackBytes;
    this.limitBytes = Math.max(limitBytes, writebackBytes);
    this.scatteredBytes = Math.max(this.limitBytes * SCATTERED_SHARE, writebackBytes);
  }

  get overLimit(): boolean {
    return this.totalBytes > this.limitBytes;
  }

  hold(write: HeldWrite): void {
    this.held.push(write);
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

  /** Answers held writes at once, for instance because their session has ended: they are looked at again. */
  releaseAll(): void {
    const held = this.held;
    this.held = [];
    for (const write of held) write.dirtyReleased();
  }

  private due(dirt: ChunkDirt): boolean {
    const { bytes } = dirt;
    if (bytes < this.writebackBytes) return false;
    return bytes >= this.scatteredBytes || dirt.toOffset - dirt.fromOffset < bytes * SCATTERED_SPAN;
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
    let { blocks } = chunk.dirt;
    if (blocks === null) {
      if (chunk.sizeBytes > MAPPED_CHUNK_MAX_BYTES) return length;
      blocks = chunk.dirt.blocks = new Uint32Array(Math.ceil(chunk.sizeBytes / BLOCK_BYTES / 32));
    }
    const last = Math.floor((offset + length - 1) / BLOCK_BYTES);
    let added = 0;
    for (let block = Math.floor(offset / BLOCK_BYTES); block <= last; block++) {
      const bit = 1 << (block & 31);
      const word = blocks[block >>> 5]!;
      if ((word & bit) === 0) {
        blocks[block >>> 5] = word | bit;
        added += BLOCK_BYTES;
      }
    }
    return added;
  }
}
