import type { Io } from '../../io/types.js';
import type { ChunkFile } from '../chunk-file.js';
import { type Judge, type ReadRange, Recheck, type RecheckOwner } from './recheck.js';
import { SUM_BLOCK_BYTES } from './sum-record.js';

/** Reads blocks once more, one by one; what does it is used again. */
export class Rereads {
  private readonly io: Io;
  private readonly judge: Judge;
  private readonly free: Recheck[] = [];

  constructor(io: Io, judge: Judge) {
    this.io = io;
    this.judge = judge;
  }

  /** These blocks of the chunk. Answers through the owner, never from within. */
  blocks(chunk: ChunkFile, op: ReadRange, blocks: readonly number[], owner: RecheckOwner): void {
    const recheck = this.free.pop() ?? new Recheck(this.io, this.judge, (one) => this.free.push(one));
    recheck.start(chunk, op, blocks, owner);
  }

  /** All of them, as after a read that the disk could not do: most of what was asked for may be readable. */
  all(chunk: ChunkFile, op: ReadRange, owner: RecheckOwner): void {
    const blocks: number[] = [];
    const end = op.offset + op.length;
    for (let block = Math.floor(op.offset / SUM_BLOCK_BYTES); block * SUM_BLOCK_BYTES < end; block++) {
      blocks.push(block);
    }
    this.blocks(chunk, op, blocks, owner);
  }
}
