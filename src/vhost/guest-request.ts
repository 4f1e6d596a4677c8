import { BlockRequest } from '../block/index.js';
import type { Span } from '../common/trace.js';
import type { PoolBuffer, SliceList } from '../io/index.js';
import { Chain } from './chain.js';

export const HEADER_BYTES = 16;

/** One request of a guest and the block request that carries it out, a piece after the other; reused. */
export class GuestRequest extends BlockRequest {
  readonly chain = new Chain();
  /** A BlkType, or any other number that the guest wrote. */
  type = 0;
  /** First byte and length of its range on the device; of DISCARD and WRITE_ZEROES of the segment at work. */
  start = 0;
  rangeBytes = 0;
  /** Of the range, submitted. */
  doneBytes = 0;
  /** Segments of DISCARD and WRITE_ZEROES: { u64 sector; u32 sectors; u32 flags }[], copied once. */
  segments: Buffer | null = null;
  segment = 0;
  copy: PoolBuffer | null = null;
  /** While somebody looks where time goes. */
  span: Span | null = null;
  /** So many bytes at the beginning of the writable ones may have been changed, beside the status at the end. */
  touchedBytes = 0;

  /** For a chain with a whole header: { u32 type; u32 reserved; u64 sector } wherever in its buffers that lies. */
  readHeader(): void {
    const { readable } = this.chain;
    let bytes = readable.memory[0]!.bytes;
    let at = readable.offset[0]!;
    if (readable.length[0]! < HEADER_BYTES) {
      bytes = copyOf(readable, 0, HEADER_BYTES);
      at = 0;
    }
    this.type = bytes.readUInt32LE(at);
    this.start = (bytes.readUInt32LE(at + 8) + bytes.readUInt32LE(at + 12) * 0x1_0000_0000) * 512;
    this.doneBytes = 0;
    this.touchedBytes = 0;
    this.segment = 0;
    this.segments = null;
  }

  writeStatus(status: number): void {
    const { writable } = this.chain;
    const last = writable.count - 1;
    writable.memory[last]!.bytes[writable.offset[last]! + writable.length[last]! - 1] = status;
  }
}

export function copyOf(list: SliceList, skip: number, lengthBytes: number): Buffer {
  const bytes = Buffer.alloc(lengthBytes);
  copyInto(bytes, 0, list, skip, lengthBytes);
  return bytes;
}

/** Copies a range of the list to one place. */
export function copyInto(
  target: Buffer,
  at: number,
  list: SliceList,
  skip: number,
  lengthBytes: number,
): void {
  let left = lengthBytes;
  for (let i = 0; i < list.count && left > 0; i++) {
    const size = list.length[i]!;
    if (skip >= size) {
      skip -= size;
      continue;
    }
    const from = list.offset[i]! + skip;
    const take = Math.min(size - skip, left);
    list.memory[i]!.bytes.copy(target, at, from, from + take);
    at += take;
    left -= take;
    skip = 0;
  }
}
