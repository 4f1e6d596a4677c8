import { assert } from '../common/assert.js';
import type { RawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import {
  type BlockDevice,
  BlockFlag,
  BlockOp,
  type BlockOwner,
  type BlockRequest,
  type Extent,
} from './device.js';
import { DeviceLayer } from './layer.js';

/** What a request looked like when it was submitted, to see that nobody touches it in flight. */
interface Submitted {
  readonly owner: BlockOwner;
  readonly op: BlockOp;
  readonly flags: number;
  readonly offset: number;
  readonly length: number;
  readonly slices: number;
}

const FLAGS_OF_OP: Record<BlockOp, number> = {
  [BlockOp.READ]: 0,
  [BlockOp.WRITE]: BlockFlag.FUA,
  [BlockOp.FLUSH]: 0,
  [BlockOp.DISCARD]: BlockFlag.FUA,
  [BlockOp.WRITE_ZEROES]: BlockFlag.FUA | BlockFlag.MAY_UNMAP | BlockFlag.FAST_ZERO,
  [BlockOp.CACHE]: 0,
};

/**
 * A device that does nothing but check both of its sides: the facade's requests (range, alignment, flags,
 * slices, number in flight) and the device's answers (once each, never from within submit, request unchanged,
 * sound extents). Throws AssertionError where the mistake is made. For tests and debug runs: it allocates.
 */
export class CheckedDevice extends DeviceLayer implements BlockOwner {
  private readonly inFlightMax: number;
  private readonly inFlight = new Map<BlockRequest, Submitted>();
  private submitting: BlockRequest | null = null;
  private closing = false;

  constructor(inner: BlockDevice, options: { inFlightMax?: number } = {}) {
    super(inner);
    this.inFlightMax = options.inFlightMax ?? LIMITS.volumeInFlight;
    const { limits } = inner;
    assert(Number.isSafeInteger(inner.sizeBytes) && inner.sizeBytes >= 0, 'device size is not a byte count');
    assert(limits.blockSizeMinBytes > 0, 'smallest block of a device is not positive');
    assert(inner.sizeBytes % limits.blockSizeMinBytes === 0, 'device size is not whole blocks');
    assert(limits.payloadMaxBytes >= limits.blockSizeMinBytes, 'device takes no whole block');
  }

  override submit(request: BlockRequest): void {
    assert(!this.closing, 'request submitted to a device that is being closed');
    assert(!this.inFlight.has(request), 'request submitted again before it was done');
    assert(this.inFlight.size < this.inFlightMax, `more than ${this.inFlightMax} requests in flight`);
    this.checkRequest(request);
    this.inFlight.set(request, {
      owner: request.owner,
      op: request.op,
      flags: request.flags,
      offset: request.offset,
      length: request.length,
      slices: request.slices.count,
    });
    request.owner = this;
    const outer = this.submitting;
    this.submitting = request;
    try {
      this.inner.submit(request);
    } finally {
      this.submitting = outer;
    }
  }

  blockDone(request: BlockRequest, error: RawstorError | null): void {
    const submitted = this.inFlight.get(request);
    assert(submitted !== undefined, 'request done twice, or never submitted');
    assert(this.submitting === null, 'request done from within submit');
    assert(
      request.op === submitted.op &&
        request.flags === submitted.flags &&
        request.offset === submitted.offset &&
        request.length === submitted.length &&
        request.slices.count === submitted.slices,
      'request changed while it was in flight',
    );
    this.inFlight.delete(request);
    request.owner = submitted.owner;
    submitted.owner.blockDone(request, error);
  }

  override async extents(offset: number, length: number): Promise<Extent[]> {
    this.checkRange(offset, length);
    assert(length > 0, 'extents of an empty range');
    const extents = await this.inner.extents(offset, length);
    assert(extents.length > 0, 'device answered no extent');
    let total = 0;
    for (const extent of extents) {
      assert(extent.lengthBytes > 0, 'device answered an empty extent');
      assert(extent.lengthBytes % this.limits.blockSizeMinBytes === 0, 'extent is not whole blocks');
      total += extent.lengthBytes;
    }
    assert(total <= length, 'extents reach past the range asked for');
    return extents;
  }

  override async close(): Promise<void> {
    assert(!this.closing, 'device closed twice');
    this.closing = true;
    await this.inner.close();
    assert(this.inFlight.size === 0, 'device closed with requests unanswered');
  }

  private checkRequest(request: BlockRequest): void {
    const { op, flags, offset, length, slices } = request;
    const allowed = FLAGS_OF_OP[op];
    assert(allowed !== undefined, `no block operation ${op}`);
    assert((flags & ~allowed) === 0, `flags ${flags} do not belong to block operation ${op}`);
    if (op === BlockOp.FLUSH) return;
    assert(length > 0, 'empty range');
    this.checkRange(offset, length);
    const changes = op === BlockOp.WRITE || op === BlockOp.DISCARD || op === BlockOp.WRITE_ZEROES;
    assert(!(changes && this.readOnly), 'change of a read-only device');
    if (op !== BlockOp.READ && op !== BlockOp.WRITE) {
      assert(length <= this.limits.rangeMaxBytes, `range of ${length} bytes is longer than the device takes`);
      return;
    }
    assert(
      length <= this.limits.payloadMaxBytes,
      `payload of ${length} bytes is longer than the device takes`,
    );
    assert(slices.lengthBytes === length, `slices of ${slices.lengthBytes} bytes for a range of ${length}`);
    let total = 0;
    for (let i = 0; i < slices.count; i++) {
      const [at, size] = [slices.offset[i]!, slices.length[i]!];
      assert(size > 0 && at >= 0, 'empty slice, or one before its memory');
      assert(at + size <= slices.memory[i]!.bytes.length, 'slice reaches past its memory');
      total += size;
    }
    assert(total === length, `slices sum up to ${total} bytes for a range of ${length}`);
  }

  private checkRange(offset: number, length: number): void {
    const block = this.limits.blockSizeMinBytes;
    assert(Number.isSafeInteger(offset) && offset >= 0, `offset ${offset} is not a place`);
    assert(offset + length <= this.sizeBytes, `range ${offset}+${length} reaches past ${this.sizeBytes}`);
    assert(offset % block === 0 && length % block === 0, `range ${offset}+${length} is not whole blocks`);
  }
}
