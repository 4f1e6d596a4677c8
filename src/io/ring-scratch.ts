import { type Mapping, mapAnonymous } from './mapping.js';
import { IOVEC_BYTES, MSGHDR_BYTES } from './ring-abi.js';

const FIRST_BYTES = 256 * 1024;
const TWO32 = 4294967296;

/**
 * Memory for what submissions point at (iovecs, msghdrs, socket addresses). The kernel copies it when it takes
 * the submission (IORING_FEAT_SUBMIT_STABLE), so that it is handed out upwards and taken back as a whole.
 */
export class RingScratch {
  private mapping: Mapping = mapAnonymous(FIRST_BYTES);
  private words = int32View(this.mapping);
  private readonly outgrown: Mapping[] = [];
  private usedBytes = 0;

  /** Address of `sizeBytes` zero or stale bytes, aligned to 16. */
  reserve(sizeBytes: number): number {
    const size = Math.ceil(sizeBytes / 16) * 16;
    if (this.usedBytes + size > this.mapping.bytes.length) this.grow(size);
    const at = this.usedBytes;
    this.usedBytes += size;
    return this.mapping.address + at;
  }

  /** All submissions that point here were taken by the kernel. */
  reset(): void {
    this.usedBytes = 0;
    if (this.outgrown.length > 0) this.dropOutgrown();
  }

  get full(): boolean {
    return this.usedBytes > this.mapping.bytes.length / 2;
  }

  reserveIovecs(count: number): number {
    return this.reserve(count * IOVEC_BYTES);
  }

  setIovec(iovecs: number, index: number, address: number, lengthBytes: number): void {
    const words = this.words;
    const at = (iovecs - this.mapping.address + index * IOVEC_BYTES) >>> 2;
    words[at] = address;
    words[at + 1] = address / TWO32;
    words[at + 2] = lengthBytes;
    words[at + 3] = lengthBytes / TWO32;
  }

  /** A msghdr that names `count` iovecs and nothing else; its address. */
  message(iovecs: number, count: number): number {
    const address = this.reserve(MSGHDR_BYTES);
    const at = (address - this.mapping.address) >>> 2;
    this.words.fill(0, at, at + MSGHDR_BYTES / 4);
    this.words[at + 4] = iovecs;
    this.words[at + 5] = iovecs / TWO32;
    this.words[at + 6] = count;
    return address;
  }

  /** The bytes at a reserved address. */
  view(address: number, sizeBytes: number): Buffer {
    const at = address - this.mapping.address;
    return this.mapping.bytes.subarray(at, at + sizeBytes);
  }

  unmap(): void {
    this.dropOutgrown();
    this.mapping.unmap();
  }

  // The old one stays until the next reset: submissions still point into it.
  private grow(size: number): void {
    this.outgrown.push(this.mapping);
    this.mapping = mapAnonymous(Math.max(this.mapping.bytes.length * 2, size));
    this.words = int32View(this.mapping);
    this.usedBytes = 0;
  }

  private dropOutgrown(): void {
    for (const mapping of this.outgrown) mapping.unmap();
    this.outgrown.length = 0;
  }
}

function int32View(mapping: Mapping): Int32Array {
  return new Int32Array(mapping.bytes.buffer, mapping.bytes.byteOffset, mapping.bytes.length / 4);
}
