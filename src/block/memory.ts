import { RawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import { KiB } from '../common/units.js';
import type { SliceList } from '../io/memory.js';
import type { BatchTask, Io } from '../io/types.js';
import {
  type BlockDevice,
  BlockFlag,
  type BlockLimits,
  BlockOp,
  type BlockRequest,
  type Extent,
  USUAL_LIMITS,
} from './device.js';

const PAGE_BYTES = 64 * KiB;

export interface MemoryDeviceOptions {
  sizeBytes: number;
  readOnly?: boolean;
  multiConnection?: boolean;
  /** Most bytes of pages it may hold; a write that needs more fails with NO_SPACE. Default: its size. */
  allocatedMaxBytes?: number;
  limits?: Partial<BlockLimits>;
}

/**
 * A sparse volume in this process's heap, in pages of 64 KiB: for tests, benchmarks and scratch disks. A
 * request takes effect and is done at the end of the turn it was submitted in, in order of submission.
 * Nothing is durable; a flush is done when its turn ends.
 */
export class MemoryDevice implements BlockDevice, BatchTask {
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly multiConnection: boolean;
  readonly limits: BlockLimits;
  private readonly io: Pick<Io, 'schedule'>;
  private readonly pages: (Buffer | undefined)[] = [];
  private readonly allocatedMaxBytes: number;
  private pagesHeld = 0;
  /** Only the first `queued` count: emptying an array costs more than keeping it. */
  private queue: (BlockRequest | null)[] = [];
  private running: (BlockRequest | null)[] = [];
  private queued = 0;
  private idle: (() => void) | null = null;

  constructor(io: Pick<Io, 'schedule'>, options: MemoryDeviceOptions) {
    this.io = io;
    this.sizeBytes = options.sizeBytes;
    this.readOnly = options.readOnly ?? false;
    this.multiConnection = options.multiConnection ?? true;
    this.allocatedMaxBytes = options.allocatedMaxBytes ?? Number.POSITIVE_INFINITY;
    this.limits = {
      ...USUAL_LIMITS,
      ...options.limits,
    };
  }

  get allocatedBytes(): number {
    return this.pagesHeld * PAGE_BYTES;
  }

  submit(request: BlockRequest): void {
    this.queue[this.queued++] = request;
    this.io.schedule(this);
  }

  runBatch(): void {
    // Two arrays in turn: an answer may well submit the next request.
    const batch = this.queue;
    const count = this.queued;
    this.queue = this.running;
    this.running = batch;
    this.queued = 0;
    for (let i = 0; i < count; i++) {
      const request = batch[i]!;
      batch[i] = null;
      request.owner.blockDone(request, this.apply(request));
    }
    if (this.queued === 0 && this.idle !== null) this.idle();
  }

  async extents(offset: number, length: number): Promise<Extent[]> {
    const found: Extent[] = [];
    const end = Math.min(offset + length, this.sizeBytes);
    for (let at = offset; at < end; ) {
      const index = Math.floor(at / PAGE_BYTES);
      const next = Math.min((index + 1) * PAGE_BYTES, end);
      const hole = this.pages[index] === undefined;
      const last = found.at(-1);
      if (last !== undefined && last.hole === hole) last.lengthBytes += next - at;
      else if (found.length === LIMITS.extentsPerAnswer) break;
      else found.push({ lengthBytes: next - at, hole, zero: hole });
      at = next;
    }
    return found;
  }

  async close(): Promise<void> {
    if (this.queued === 0) return;
    await new Promise<void>((resolve) => {
      this.idle = resolve;
    });
  }

  private apply(request: BlockRequest): RawstorError | null {
    const { op, offset, length } = request;
    if (op === BlockOp.FLUSH || op === BlockOp.CACHE) return null;
    if (offset < 0 || offset + length > this.sizeBytes) {
      return new RawstorError('INVALID', `range ${offset}+${length} is outside of the memory device`);
    }
    if (op === BlockOp.READ) return this.read(request.slices, offset);
    if (this.readOnly) return new RawstorError('READ_ONLY', 'the memory device is read-only');
    if (op === BlockOp.WRITE) return this.write(request.slices, offset);
    const provision = op === BlockOp.WRITE_ZEROES && (request.flags & BlockFlag.MAY_UNMAP) === 0;
    return this.zero(offset, length, provision);
  }

  private read(slices: SliceList, offset: number): null {
    for (let i = 0; i < slices.count; i++) {
      const bytes = slices.memory[i]!.bytes;
      let to = slices.offset[i]!;
      const end = to + slices.length[i]!;
      while (to < end) {
        const from = offset % PAGE_BYTES;
        const take = Math.min(PAGE_BYTES - from, end - to);
        const page = this.pages[Math.floor(offset / PAGE_BYTES)];
        if (page === undefined) bytes.fill(0, to, to + take);
        else page.copy(bytes, to, from, from + take);
        to += take;
        offset += take;
      }
    }
    return null;
  }

  private write(slices: SliceList, offset: number): RawstorError | null {
    for (let i = 0; i < slices.count; i++) {
      const bytes = slices.memory[i]!.bytes;
      let from = slices.offset[i]!;
      const end = from + slices.length[i]!;
      while (from < end) {
        const to = offset % PAGE_BYTES;
        const take = Math.min(PAGE_BYTES - to, end - from);
        const page = this.pageAt(offset, take < PAGE_BYTES);
        if (page === null) return this.full();
        bytes.copy(page, to, from, from + take);
        from += take;
        offset += take;
      }
    }
    return null;
  }

  private zero(offset: number, length: number, provision: boolean): RawstorError | null {
    const end = offset + length;
    while (offset < end) {
      const to = offset % PAGE_BYTES;
      const take = Math.min(PAGE_BYTES - to, end - offset);
      const index = Math.floor(offset / PAGE_BYTES);
      const page = provision ? this.pageAt(offset, true) : this.pages[index];
      if (page === null) return this.full();
      if (page !== undefined && take === PAGE_BYTES && !provision) {
        this.pages[index] = undefined;
        this.pagesHeld--;
      } else page?.fill(0, to, to + take);
      offset += take;
    }
    return null;
  }

  private pageAt(offset: number, clean: boolean): Buffer | null {
    const index = Math.floor(offset / PAGE_BYTES);
    const page = this.pages[index];
    if (page !== undefined) return page;
    if (this.allocatedBytes + PAGE_BYTES > this.allocatedMaxBytes) return null;
    this.pagesHeld++;
    const fresh = clean ? Buffer.alloc(PAGE_BYTES) : Buffer.allocUnsafeSlow(PAGE_BYTES);
    this.pages[index] = fresh;
    return fresh;
  }

  private full(): RawstorError {
    return new RawstorError(
      'NO_SPACE',
      `the memory device holds its ${this.allocatedMaxBytes} bytes already`,
    );
  }
}
