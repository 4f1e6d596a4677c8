import { ERROR_CODES, wireOfErrno } from '../../common/errors.js';
import { crc32c, isMediumError } from '../../io/index.js';
import { SliceList } from '../../io/memory.js';
import type { PoolBuffer } from '../../io/pool.js';
import { FileOp, type FileOpOwner, type Io, type IoFile } from '../../io/types.js';
import type { ChunkFile } from '../chunk-file.js';
import type { Damage } from './damage.js';
import { SUM_BLOCK_BYTES, ZERO_BLOCK_SUM } from './sum-record.js';

/** What was read of a chunk: an operation, or a part of one. */
export interface ReadRange {
  readonly offset: number;
  readonly length: number;
  readonly slices: SliceList;
}

/** Who knows what blocks should be. */
export interface Judge {
  readonly damage: Damage;
  /** The sum that a block should have, -1 where that is not known. */
  expected(chunk: ChunkFile, block: number): number;
}

export interface RecheckOwner {
  /** `status` 0: what was read is right. CHECKSUM: the block at `badOffset` of the chunk, and perhaps others, is not. */
  rechecked(status: number, badOffset: number): void;
}

/**
 * Reads blocks once more, one by one, into a buffer that nobody else sees, and judges them there: those of which a
 * read asked only a part, those whose sum was wrong where they were read to, which may be a guest's memory that
 * it changes, and all of a read that the disk could not do: what it cannot give is damaged like what is wrong. What is right goes to the
 * reader from here.
 */
export class Recheck implements FileOpOwner {
  private readonly io: Io;
  private readonly judging: Judge;
  private readonly onDone: (recheck: Recheck) => void;
  private readonly fileOp = new FileOp(this, new SliceList());
  private readonly blocks: number[] = [];
  private next = 0;
  private chunk: ChunkFile | null = null;
  /** The one that was read: the chunk may get another. */
  private file: IoFile | null = null;
  private op: ReadRange | null = null;
  private owner: RecheckOwner | null = null;
  private buffer: PoolBuffer | null = null;
  private badOffset = -1;

  constructor(io: Io, judging: Judge, onDone: (recheck: Recheck) => void) {
    this.io = io;
    this.judging = judging;
    this.onDone = onDone;
  }

  start(chunk: ChunkFile, op: ReadRange, blocks: readonly number[], owner: RecheckOwner): void {
    this.chunk = chunk;
    this.file = chunk.file;
    this.op = op;
    this.owner = owner;
    this.badOffset = -1;
    this.next = 0;
    this.blocks.length = 0;
    for (let i = 0; i < blocks.length; i++) this.blocks.push(blocks[i]!);
    this.begin();
  }

  fileDone(_op: FileOp, result: number): void {
    const block = this.blocks[this.next]!;
    const chunk = this.chunk!;
    if (result < 0) {
      if (!isMediumError(result)) return this.finish(wireOfErrno(result));
      this.next++;
      this.bad(block);
      // Of a file that is the chunk's no more there is nothing to note.
      if (chunk.file === this.file) {
        const expected = this.judging.expected(chunk, block);
        this.judging.damage.cannotRead(chunk, block, expected < 0 ? null : expected);
      }
      return this.step();
    }
    const { memory, offset } = this.buffer!;
    if (result < SUM_BLOCK_BYTES) memory.bytes.fill(0, offset + result, offset + SUM_BLOCK_BYTES);
    this.next++;
    if (chunk.file === this.file) this.judging.damage.canRead(chunk, block);
    this.judge(block, crc32c(memory, offset, SUM_BLOCK_BYTES));
    this.step();
  }

  private begin(): void {
    const buffer = this.io.pool.acquire(SUM_BLOCK_BYTES);
    if (buffer === null) return this.io.pool.whenFree(() => this.begin());
    this.buffer = buffer;
    if (this.file !== null) return this.step();
    // Without a file everything reads as zeros; where something else was written the file has been lost.
    buffer.memory.bytes.fill(0, buffer.offset, buffer.offset + SUM_BLOCK_BYTES);
    for (const block of this.blocks) this.judge(block, ZERO_BLOCK_SUM);
    this.io.schedule({ runBatch: () => this.end() });
  }

  private step(): void {
    if (this.next === this.blocks.length) return this.end();
    const { fileOp } = this;
    fileOp.fileOffset = this.blocks[this.next]! * SUM_BLOCK_BYTES;
    fileOp.slices.clear();
    fileOp.slices.add(this.buffer!.memory, this.buffer!.offset, SUM_BLOCK_BYTES);
    this.file!.read(fileOp);
  }

  private judge(block: number, sum: number): void {
    // Touched meanwhile, or in another file: its checksum says nothing any more, and what is here is at least of one moment.
    const chunk = this.chunk!;
    const expected = chunk.file === this.file ? this.judging.expected(chunk, block) : -1;
    const { damage } = this.judging;
    const right = expected < 0 ? !damage.isBad(chunk, block) : expected === sum;
    if (right) return this.hand(block);
    damage.found(chunk, block, expected);
    this.bad(block);
  }

  private bad(block: number): void {
    const offset = block * SUM_BLOCK_BYTES;
    if (this.badOffset < 0 || offset < this.badOffset) this.badOffset = offset;
  }

  /** The part of the block that the read asked for, to where it asked for it. */
  private hand(block: number): void {
    const { offset, length, slices } = this.op!;
    const start = block * SUM_BLOCK_BYTES;
    const from = Math.max(start, offset);
    const until = Math.min(start + SUM_BLOCK_BYTES, offset + length);
    const buffer = this.buffer!;
    slices.fill(buffer.memory, buffer.offset + (from - start), from - offset, until - from);
  }

  private end(): void {
    this.finish(this.badOffset < 0 ? 0 : ERROR_CODES.CHECKSUM.wire);
  }

  private finish(status: number): void {
    const { owner, badOffset } = this;
    this.buffer?.release();
    this.buffer = null;
    this.chunk = null;
    this.file = null;
    this.op = null;
    this.owner = null;
    this.onDone(this);
    owner!.rechecked(status, badOffset);
  }
}
