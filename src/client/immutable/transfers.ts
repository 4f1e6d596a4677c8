import { type BlockDevice, BlockOp, BlockRequest } from '../../block/device.js';
import { RawstorError } from '../../common/errors.js';
import { LIMITS } from '../../common/limits.js';
import type { PoolBuffer } from '../../io/pool.js';
import type { Io } from '../../io/types.js';

const { sectorBytes: SECTOR } = LIMITS;
/** Bytes moved in one step. */
export const STEP_BYTES = LIMITS.framePayloadBytes;
/** Steps under way at a time, all objects together: bounds what of the pool this takes. */
const STEPS = 48;
/** Steps read before anybody has asked for them, all readers together: what those that are slow to take them hold of memory. */
const AHEAD_STEPS = 64;

export const roundUp = (bytes: number) => Math.ceil(bytes / SECTOR) * SECTOR;
const roundDown = (bytes: number) => Math.floor(bytes / SECTOR) * SECTOR;

/** Moves bytes between the heap and block devices through buffers of the pool, a bounded number at a time. */
export class Transfers {
  private readonly io: Io;
  private free = STEPS;
  private ahead = AHEAD_STEPS;
  private readonly waiting: (() => void)[] = [];

  constructor(io: Io) {
    this.io = io;
  }

  /** At a multiple of a sector, at most a step; zeros fill the last sector. @throws RawstorError of the device */
  write(device: BlockDevice, offset: number, bytes: Uint8Array): Promise<void> {
    const whole = roundUp(bytes.length);
    return this.withBuffer(whole, (buffer) => {
      const target = buffer.memory.bytes;
      target.set(bytes, buffer.offset);
      target.fill(0, buffer.offset + bytes.length, buffer.offset + whole);
      return submit(device, BlockOp.WRITE, offset, whole, buffer);
    });
  }

  /** @returns bytes of its own; at most a step. @throws RawstorError of the device, BAD_DATA behind its end */
  async read(device: BlockDevice, offset: number, length: number): Promise<Buffer> {
    // A shorter read would leave in the buffer what others had there.
    if (offset + length > device.sizeBytes) throw behindTheEnd(offset + length, device.sizeBytes);
    const from = roundDown(offset);
    const whole = Math.min(roundUp(offset + length), device.sizeBytes) - from;
    return this.withBuffer(whole, async (buffer) => {
      await submit(device, BlockOp.READ, from, whole, buffer);
      const start = buffer.offset + (offset - from);
      return Buffer.from(buffer.memory.bytes.subarray(start, start + length));
    });
  }

  /** Whether a reader may read one step more ahead; `endAhead` when that one is taken. */
  beginAhead(): boolean {
    if (this.ahead === 0) return false;
    this.ahead--;
    return true;
  }

  endAhead(): void {
    this.ahead++;
  }

  flush(device: BlockDevice): Promise<void> {
    return submit(device, BlockOp.FLUSH, 0, 0, null);
  }

  private async withBuffer<T>(length: number, use: (buffer: PoolBuffer) => Promise<T>): Promise<T> {
    if (this.free > 0) this.free--;
    else await new Promise<void>((resolve) => this.waiting.push(resolve));
    try {
      let buffer = this.io.pool.acquire(length);
      while (buffer === null) {
        await new Promise<void>((resolve) => this.io.pool.whenFree(resolve));
        buffer = this.io.pool.acquire(length);
      }
      try {
        return await use(buffer);
      } finally {
        buffer.release();
      }
    } finally {
      const next = this.waiting.shift();
      if (next === undefined) this.free++;
      else next();
    }
  }
}

function behindTheEnd(end: number, sizeBytes: number): RawstorError {
  return new RawstorError('BAD_DATA', `content up to ${end} is named, of an object of ${sizeBytes} bytes`);
}

function submit(
  device: BlockDevice,
  op: BlockOp,
  offset: number,
  length: number,
  buffer: PoolBuffer | null,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const blockDone = (_: BlockRequest, error: RawstorError | null) =>
      error === null ? resolve() : reject(error);
    const request = new BlockRequest({ blockDone });
    request.op = op;
    request.offset = offset;
    request.length = length;
    if (buffer !== null) request.slices.add(buffer.memory, buffer.offset, length);
    device.submit(request);
  });
}
