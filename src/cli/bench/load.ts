import { randomBytes } from 'node:crypto';
import { type BlockDevice, BlockOp, type BlockOwner, BlockRequest } from '../../block/index.js';
import { RawstorError } from '../../common/errors.js';
import { Histogram } from '../../common/histogram.js';
import type { Random } from '../../common/random.js';
import type { Io, PoolBuffer } from '../../io/index.js';

export interface LoadSpec {
  /** Part of the operations that are writes, 0 to 1. */
  readonly writePart: number;
  readonly sequential: boolean;
  readonly blockBytes: number;
  /** Requests under way at a time. */
  readonly depth: number;
  readonly durationMs: number;
}

export interface LoadResult {
  readonly reads: Histogram;
  readonly writes: Histogram;
  readonly elapsedMs: number;
}

interface Slot {
  readonly request: BlockRequest;
  readonly buffer: PoolBuffer;
  startMs: number;
}

/** Keeps a number of requests under way on a device for some time and measures each. */
export class Load implements BlockOwner {
  private readonly device: BlockDevice;
  private readonly spec: LoadSpec;
  private readonly random: Random;
  private readonly slots = new Map<BlockRequest, Slot>();
  private readonly reads = new Histogram();
  private readonly writes = new Histogram();
  private readonly blocks: number;
  private nextBlock = 0;
  private inFlight = 0;
  private untilMs = 0;
  private failure: RawstorError | null = null;
  private finished: (() => void) | null = null;

  /** @throws RawstorError USAGE, LIMIT */
  constructor(io: Io, device: BlockDevice, spec: LoadSpec, random: Random) {
    this.device = device;
    this.spec = spec;
    this.random = random;
    this.blocks = Math.floor(device.sizeBytes / spec.blockBytes);
    if (this.blocks === 0)
      throw new RawstorError('USAGE', 'the volume is smaller than one block of the load');
    for (let i = 0; i < spec.depth; i++) {
      const buffer = io.pool.acquire(spec.blockBytes);
      if (buffer === null)
        throw new RawstorError('LIMIT', 'no memory is left for I/O buffers: lower the depth');
      // Not compressible, not zero: what is measured is a real write.
      randomBytes(spec.blockBytes).copy(buffer.memory.bytes, buffer.offset);
      const request = new BlockRequest(this);
      request.slices.add(buffer.memory, buffer.offset, spec.blockBytes);
      this.slots.set(request, { request, buffer, startMs: 0 });
    }
  }

  /** @throws RawstorError of the first request that fails */
  async run(signal: AbortSignal): Promise<LoadResult> {
    const startMs = performance.now();
    this.untilMs = startMs + this.spec.durationMs;
    const stop = () => {
      this.untilMs = 0;
    };
    signal.addEventListener('abort', stop);
    await new Promise<void>((resolve) => {
      this.finished = resolve;
      for (const slot of this.slots.values()) this.begin(slot);
    });
    const elapsedMs = performance.now() - startMs;
    signal.removeEventListener('abort', stop);
    for (const { buffer } of this.slots.values()) buffer.release();
    if (this.failure !== null) throw this.failure;
    return { reads: this.reads, writes: this.writes, elapsedMs };
  }

  blockDone(request: BlockRequest, error: RawstorError | null): void {
    const slot = this.slots.get(request)!;
    const nowMs = performance.now();
    this.inFlight--;
    if (error !== null) {
      this.failure ??= error;
      this.untilMs = 0;
    } else {
      const histogram = request.op === BlockOp.READ ? this.reads : this.writes;
      histogram.record((nowMs - slot.startMs) * 1000);
    }
    if (nowMs < this.untilMs) this.begin(slot);
    else if (this.inFlight === 0) this.finished?.();
  }

  private begin(slot: Slot): void {
    const { spec, random } = this;
    const { request } = slot;
    const block = spec.sequential ? this.nextBlock++ % this.blocks : random.below(this.blocks);
    request.op = random.next() < spec.writePart ? BlockOp.WRITE : BlockOp.READ;
    request.offset = block * spec.blockBytes;
    request.length = spec.blockBytes;
    slot.startMs = performance.now();
    this.inFlight++;
    this.device.submit(request);
  }
}
