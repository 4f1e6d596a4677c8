import { getSystemErrorName } from 'node:util';
import { type BlockDevice, BlockOp, type BlockOwner, BlockRequest } from '../../block/index.js';
import { RawstorError } from '../../common/errors.js';
import { MiB } from '../../common/units.js';
import {
  FileOp,
  type FileOpOwner,
  type Io,
  type IoFile,
  type PoolBuffer,
  SliceList,
} from '../../io/index.js';

/** Bytes moved in one step. */
export const PIECE_BYTES = MiB;
/** Steps under way at a time. */
export const LANES = 8;

interface Waiter {
  resolve(value: number): void;
  reject(error: RawstorError): void;
}

/**
 * One buffer and the records to move it between a file and a block device, one step at a time: copies of a
 * mebibyte each, where a promise a step costs nothing that shows.
 */
export class Lane implements BlockOwner, FileOpOwner {
  readonly buffer: PoolBuffer;
  private readonly request = new BlockRequest(this);
  private readonly fileOp = new FileOp(this, new SliceList());
  private waiter: Waiter | null = null;
  private where = '';

  /** @throws RawstorError LIMIT when the pool is used up */
  constructor(io: Pick<Io, 'pool'>) {
    const buffer = io.pool.acquire(PIECE_BYTES);
    if (buffer === null) throw new RawstorError('LIMIT', 'no memory is left for I/O buffers');
    this.buffer = buffer;
  }

  /** The buffer's bytes. */
  bytes(from: number, to: number): Buffer {
    const { memory, offset } = this.buffer;
    return memory.bytes.subarray(offset + from, offset + to);
  }

  /** READ or WRITE between the buffer, from `at` on, and the device; or an operation without data. */
  async device(
    device: BlockDevice,
    op: BlockOp,
    offset: number,
    length: number,
    options: { at?: number; flags?: number } = {},
  ): Promise<void> {
    const { request } = this;
    request.op = op;
    request.flags = options.flags ?? 0;
    request.offset = offset;
    request.length = length;
    request.slices.clear();
    if (op === BlockOp.READ || op === BlockOp.WRITE) {
      request.slices.add(this.buffer.memory, this.buffer.offset + (options.at ?? 0), length);
    }
    await this.wait(() => device.submit(request));
  }

  /** @returns bytes read, fewer at the end of the file */
  readFile(file: IoFile, offset: number, length: number): Promise<number> {
    this.setFileOp(file, offset, 0, length);
    return this.wait(() => file.read(this.fileOp));
  }

  async writeFile(file: IoFile, offset: number, at: number, length: number): Promise<void> {
    this.setFileOp(file, offset, at, length);
    await this.wait(() => file.write(this.fileOp));
  }

  async syncFile(file: IoFile): Promise<void> {
    this.setFileOp(file, 0, 0, 0);
    await this.wait(() => file.sync(this.fileOp));
  }

  release(): void {
    this.buffer.release();
  }

  blockDone(_request: BlockRequest, error: RawstorError | null): void {
    const waiter = this.waiter!;
    if (error === null) waiter.resolve(0);
    else waiter.reject(error);
  }

  fileDone(_op: FileOp, result: number): void {
    const waiter = this.waiter!;
    if (result >= 0) return waiter.resolve(result);
    const name = getSystemErrorName(result);
    const full = name === 'ENOSPC' || name === 'EDQUOT';
    const text = full ? 'no space is left for the file' : `input/output error on the file: ${name}`;
    waiter.reject(new RawstorError(full ? 'NO_SPACE' : 'IO', text, { where: this.where }));
  }

  private setFileOp(file: IoFile, offset: number, at: number, length: number): void {
    this.where = file.path;
    this.fileOp.fileOffset = offset;
    this.fileOp.lengthBytes = length;
    this.fileOp.slices.clear();
    if (length > 0) this.fileOp.slices.add(this.buffer.memory, this.buffer.offset + at, length);
  }

  private wait(submit: () => void): Promise<number> {
    return new Promise((resolve, reject) => {
      this.waiter = { resolve, reject };
      submit();
    });
  }
}

/**
 * Runs `step` for everything `next` gives, several at a time, until it gives null. The first failure stops
 * the others after their step under way.
 */
export async function inLanes<Item>(
  io: Io,
  signal: AbortSignal,
  next: () => Item | null | Promise<Item | null>,
  step: (lane: Lane, item: Item) => Promise<void>,
): Promise<void> {
  const lanes = Array.from({ length: LANES }, () => new Lane(io));
  let failed = false;
  const run = async (lane: Lane) => {
    try {
      for (;;) {
        signal.throwIfAborted();
        if (failed) return;
        const item = await next();
        if (item === null) return;
        await step(lane, item);
      }
    } catch (error) {
      failed = true;
      throw error;
    }
  };
  const results = await Promise.allSettled(lanes.map(run));
  for (const lane of lanes) lane.release();
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}
