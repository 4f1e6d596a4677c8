import { type BlockDevice, BlockOp, type BlockOwner, BlockRequest } from '../block/index.js';
import type { RawstorError } from '../common/errors.js';
import type { Memory } from '../io/memory.js';

/** Single requests to a device as promises, for what is rare: the ends of ranges, zeroes, flushes. */
class DeviceCall implements BlockOwner {
  readonly request = new BlockRequest(this);
  private settle!: (error: RawstorError | null) => void;

  run(device: BlockDevice): Promise<void> {
    return new Promise((resolve, reject) => {
      this.settle = (error) => (error === null ? resolve() : reject(error));
      device.submit(this.request);
    });
  }

  blockDone(_request: BlockRequest, error: RawstorError | null): void {
    this.settle(error);
  }
}

/** READ or WRITE of whole sectors. @throws RawstorError of the device */
export function transfer(
  device: BlockDevice,
  op: typeof BlockOp.READ | typeof BlockOp.WRITE,
  offset: number,
  memory: Memory,
  memoryOffset: number,
  length: number,
): Promise<void> {
  const call = new DeviceCall();
  const { request } = call;
  request.op = op;
  request.offset = offset;
  request.length = length;
  request.slices.add(memory, memoryOffset, length);
  return call.run(device);
}

/** WRITE_ZEROES of whole sectors, as many requests as it takes. @throws RawstorError of the device */
export async function writeZeroes(
  device: BlockDevice,
  offset: number,
  length: number,
  flags: number,
): Promise<void> {
  for (let at = offset; at < offset + length; ) {
    const call = new DeviceCall();
    const { request } = call;
    request.op = BlockOp.WRITE_ZEROES;
    request.flags = flags;
    request.offset = at;
    request.length = Math.min(offset + length - at, device.limits.rangeMaxBytes);
    at += request.length;
    await call.run(device);
  }
}

export function flush(device: BlockDevice): Promise<void> {
  const call = new DeviceCall();
  call.request.op = BlockOp.FLUSH;
  return call.run(device);
}
