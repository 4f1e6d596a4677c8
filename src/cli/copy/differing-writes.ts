import { type BlockDevice, BlockOp, type BlockRequest, DeviceLayer } from '../../block/index.js';
import type { BufferPool } from '../../io/index.js';
import { Lane } from './lane.js';

/**
 * A device whose writes are compared with what is there, and done only where they would change something. So a copy that was
 * cut short goes on by being made again, without anything having been noted on the way: what an OST lost meanwhile, or a source that
 * has changed, is found as well.
 */
export class DifferingWrites extends DeviceLayer {
  /** Of writes, what was there already. */
  sameBytes = 0;
  private readonly pool: BufferPool;

  constructor(inner: BlockDevice, pool: BufferPool) {
    super(inner);
    this.pool = pool;
  }

  override submit(request: BlockRequest): void {
    if (request.op === BlockOp.WRITE) void this.unless(request, this.holds(request));
    else if (request.op === BlockOp.WRITE_ZEROES) void this.unless(request, this.isZero(request));
    else this.inner.submit(request);
  }

  /** What cannot be compared is written. */
  private async unless(request: BlockRequest, same: Promise<boolean>): Promise<void> {
    if (!(await same.catch(() => false))) return this.inner.submit(request);
    if (request.op === BlockOp.WRITE) this.sameBytes += request.length;
    request.owner.blockDone(request, null);
  }

  private async isZero({ offset, length }: BlockRequest): Promise<boolean> {
    for (let done = 0; done < length; ) {
      for (const extent of await this.inner.extents(offset + done, length - done)) {
        if (!extent.zero) return false;
        done += extent.lengthBytes;
      }
    }
    return true;
  }

  private async holds(request: BlockRequest): Promise<boolean> {
    const { offset, length, slices } = request;
    // Mostly nothing is there yet: then there is nothing to read.
    const [first] = await this.inner.extents(offset, length);
    if (first === undefined || (first.zero && first.lengthBytes >= length)) return false;
    const lane = new Lane({ pool: this.pool });
    try {
      await lane.device(this.inner, BlockOp.READ, offset, length);
      let at = 0;
      for (let i = 0; i < slices.count; i++) {
        const [from, size] = [slices.offset[i]!, slices.length[i]!];
        const wanted = slices.memory[i]!.bytes.subarray(from, from + size);
        if (!lane.bytes(at, at + size).equals(wanted)) return false;
        at += size;
      }
      return true;
    } finally {
      lane.release();
    }
  }
}
