import { asRawstorError, ERROR_CODES, wireOfErrno } from '../../common/errors.js';
import { SliceList } from '../../io/memory.js';
import type { PoolBuffer } from '../../io/pool.js';
import { FileOp, type FileOpOwner } from '../../io/types.js';
import { type ChunkOp, Opcode } from '../../protocol/index.js';
import type { ChunkFile } from '../chunk-file.js';
import type { OstCore } from '../core.js';
import type { Session } from '../session.js';
import { changeLock } from './change-lock.js';
import { ITSELF, isLayered, NOBODY } from './layer-maps.js';
import { LAYER_BLOCK_BYTES as BLOCK } from './zero-bits.js';

/**
 * A write, zero or discard in a version that lies over others: the file gets whole blocks only, because what is in the
 * file is what the version has. Of a block that is written in part the rest is copied up first, in one write with it. What is
 * zeroed is on record as zeros before it is punched (I12).
 */
export class LayeredChange implements FileOpOwner {
  private readonly core: OstCore;
  private readonly op: ChunkOp;
  private readonly chunk: ChunkFile;
  private readonly session: Session;
  private readonly onDone: (status: number) => void;
  private readonly fileOp = new FileOp(this, new SliceList());
  private buffer: PoolBuffer | null = null;
  private from = 0;
  private length = 0;
  private punching = false;
  /** The file has been told something. */
  private told = false;

  constructor(
    core: OstCore,
    op: ChunkOp,
    chunk: ChunkFile,
    session: Session,
    onDone: (status: number) => void,
  ) {
    this.core = core;
    this.op = op;
    this.chunk = chunk;
    this.session = session;
    this.onDone = onDone;
  }

  /** Never answers from within. */
  start(): void {
    const { op, chunk } = this;
    changeLock(chunk).begin(op.offset, op.length);
    // Whatever is waited for before the file is told: no checksums are signed meanwhile of what is there now.
    const { from, length } = this.blocks();
    this.core.checksums?.beginChange(chunk, from, length);
    try {
      const work = op.opcode === Opcode.WRITE ? this.write() : op.revert ? this.revert() : this.zero();
      work?.catch((error) => this.finish(statusOf(error)));
    } catch (error) {
      this.fail(statusOf(error));
    }
  }

  fileDone(_op: FileOp, result: number): void {
    const { chunk, core, from, length } = this;
    if (!this.punching) core.space.settled(length);
    chunk.sync.dirty = true;
    this.buffer?.release();
    this.buffer = null;
    const { maps } = core.layers;
    // What a failed change has left behind only the file knows.
    if (result < 0 || this.op.revert) maps.forget(chunk, from, length);
    else maps.changed(chunk, from, length, this.punching ? NOBODY : ITSELF);
    if (result < 0) return this.finish(wireOfErrno(result));
    if (!this.punching) core.dirty.wrote(chunk, from, length);
    this.finish(0);
  }

  /** Answers null where nothing has to be copied up, and there is nothing to wait for. */
  private write(): Promise<void> | null {
    const { op, chunk } = this;
    const end = op.offset + op.length;
    const first = op.offset - (op.offset % BLOCK);
    const last = Math.floor((end - 1) / BLOCK) * BLOCK;
    const layered = isLayered(chunk);
    const before = layered && first < op.offset ? this.owner(first) : ITSELF;
    const behind = layered && last + BLOCK > end ? this.owner(last) : ITSELF;
    if (before !== ITSELF || behind !== ITSELF) return this.copyUp(first, before, last, behind);
    this.fileOp.slices.clear();
    this.fileOp.slices.addRange(op.slices, 0, op.length);
    this.put(op.offset, op.length);
    return null;
  }

  private async copyUp(first: number, before: number, last: number, behind: number): Promise<void> {
    const { op } = this;
    const end = op.offset + op.length;
    const buffer = await this.core.layers.buffer(2 * BLOCK);
    this.buffer = buffer;
    const { memory, offset } = buffer;
    if (before !== ITSELF) await this.old(first, before, buffer, 0);
    if (behind !== ITSELF) {
      if (last === first && before !== ITSELF) {
        memory.bytes.copy(memory.bytes, offset + BLOCK, offset, offset + BLOCK);
      } else await this.old(last, behind, buffer, BLOCK);
    }
    const { slices } = this.fileOp;
    slices.clear();
    const lead = before === ITSELF ? 0 : op.offset - first;
    const trail = behind === ITSELF ? 0 : last + BLOCK - end;
    if (lead > 0) slices.add(memory, offset, lead);
    slices.addRange(op.slices, 0, op.length);
    if (trail > 0) slices.add(memory, offset + 2 * BLOCK - trail, trail);
    this.put(op.offset - lead, lead + op.length + trail);
  }

  private put(from: number, length: number): void {
    const { core, chunk } = this;
    const { ended } = this.session;
    if (ended !== 0) return this.fail(ended);
    if (!core.space.allows(chunk, from, length, this.op.leavesRoom))
      return this.fail(ERROR_CODES.NO_SPACE.wire);
    this.from = from;
    this.length = length;
    this.punching = false;
    this.told = true;
    this.fileOp.fileOffset = from;
    chunk.file!.write(this.fileOp);
  }

  /** Zeroes or discards: whole blocks by record and hole, the parts at the ends by writing zeros. */
  private async zero(): Promise<void> {
    const { op, chunk, core } = this;
    const end = op.offset + op.length;
    const first = Math.ceil(op.offset / BLOCK) * BLOCK;
    const last = Math.floor(end / BLOCK) * BLOCK;
    if (first > last) await this.writeZeros(op.offset, op.length);
    else {
      if (op.offset < first) await this.writeZeros(op.offset, first - op.offset);
      if (last < end) await this.writeZeros(last, end - last);
    }
    if (first >= last || core.layers.maps.soleOwner(chunk, first, last - first) === NOBODY) {
      return core.layers.soon(() => this.finish(0));
    }
    if (isLayered(chunk)) await this.record(first, last - first, true);
    if (chunk.file !== null) return this.punch(first, last - first);
    // Of a version below others there may have been nothing at all until now.
    core.layers.maps.forgetAll(chunk);
    this.finish(0);
  }

  /** What lies below shows again: only copies do that, to have a layer as it is at their source. */
  private async revert(): Promise<void> {
    const { chunk } = this;
    const { from, length } = this.blocks();
    await this.record(from, length, false);
    if (chunk.file !== null) return this.punch(from, length);
    this.core.layers.maps.forget(chunk, from, length);
    this.finish(0);
  }

  /** The range in whole blocks. */
  private blocks(): { from: number; length: number } {
    const { offset, length } = this.op;
    const from = offset - (offset % BLOCK);
    return { from, length: Math.ceil((offset + length) / BLOCK) * BLOCK - from };
  }

  private punch(from: number, length: number): void {
    const { chunk } = this;
    if (this.session.ended !== 0) return this.finish(this.session.ended);
    this.from = from;
    this.length = length;
    this.punching = true;
    this.told = true;
    this.fileOp.fileOffset = from;
    this.fileOp.lengthBytes = length;
    this.fileOp.slices.clear();
    chunk.file!.punch(this.fileOp);
  }

  private record(from: number, length: number, on: boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      this.core.layers.zeros.set(this.chunk, from, length, on, (status) =>
        status === 0 ? resolve() : reject(new Failed(status)),
      );
    });
  }

  /** Within one block. */
  private async writeZeros(offset: number, length: number): Promise<void> {
    if (this.owner(offset - (offset % BLOCK)) === NOBODY) return;
    const buffer = await this.core.layers.buffer(BLOCK);
    buffer.memory.bytes.fill(0, buffer.offset, buffer.offset + length);
    await this.nested(Opcode.WRITE, offset, length, buffer, 0).finally(() => buffer.release());
  }

  /** The content of a block that another version has. */
  private async old(block: number, owner: number, buffer: PoolBuffer, at: number): Promise<void> {
    const { memory, offset } = buffer;
    if (owner === NOBODY) memory.bytes.fill(0, offset + at, offset + at + BLOCK);
    else await this.nested(Opcode.READ, block, BLOCK, buffer, at);
  }

  private async nested(
    opcode: number,
    offset: number,
    length: number,
    buffer: PoolBuffer,
    at: number,
  ): Promise<void> {
    const { op, core, session, chunk } = this;
    const part = { opcode, offset, length, tag: op.tag };
    const status = await core.layers.nested(session, chunk, part, { buffer, at });
    if (status !== 0) throw new Failed(status);
  }

  private owner(blockOffset: number): number {
    return this.core.layers.maps.soleOwner(this.chunk, blockOffset, BLOCK);
  }

  private fail(status: number): void {
    this.core.layers.soon(() => this.finish(status));
  }

  private finish(status: number): void {
    this.buffer?.release();
    this.buffer = null;
    const { from, length } = this.blocks();
    this.core.checksums?.endChange(this.chunk, from, length, this.told);
    changeLock(this.chunk).end(this.op.offset, this.op.length);
    this.onDone(status);
  }
}

class Failed extends Error {
  readonly status: number;

  constructor(status: number) {
    super(`wire status ${status}`);
    this.status = status;
  }
}

const statusOf = (error: unknown): number =>
  error instanceof Failed ? error.status : asRawstorError(error).wire;
