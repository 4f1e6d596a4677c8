import { SliceList } from '../io/index.js';
import { DescFlag, VHOST_LIMITS } from './constants.js';
import type { GuestMemory } from './guest-memory.js';

/** What a guest has asked for: memory to be read, then memory to be written; slices are of Windows. */
export class Chain {
  /** What the used ring calls it: the first descriptor's index (split) or its buffer id (packed). */
  id = 0;
  /** Descriptors that it takes in the ring itself. */
  ringDescriptors = 0;
  readonly readable = new SliceList();
  readonly writable = new SliceList();
  descriptors = 0;
  /** Descriptors in a packed ring, as words: the ring's own may be overwritten while this is under way. */
  readonly words: number[] = [];
  /** Its places in an in-flight area of a packed queue, its own first; none where there was no room for it. */
  readonly inflightEntries: number[] = [];

  clear(): void {
    this.ringDescriptors = 0;
    this.descriptors = 0;
    this.readable.clear();
    this.writable.clear();
  }

  /** One buffer. @returns what is wrong with it, or null */
  add(memory: GuestMemory, address: number, lengthBytes: number, flags: number): string | null {
    if (++this.descriptors > VHOST_LIMITS.chainDescriptors) return 'chain is too long, or a loop';
    if (lengthBytes === 0) return 'buffer of no length';
    const writable = (flags & DescFlag.WRITE) !== 0;
    if (!writable && this.writable.count > 0) return 'readable buffer behind a writable one';
    const list = writable ? this.writable : this.readable;
    return memory.append(list, address, lengthBytes) ? null : 'buffer outside of the guest memory';
  }
}

const TWO32 = 0x1_0000_0000;
export const DESCRIPTOR_BYTES = 16;
const DESCRIPTOR_WORDS = 4;

/** Address of the descriptor at word `at`; both kinds of ring begin theirs with it and the length. */
export function addressAt(words: ArrayLike<number>, at: number): number {
  return (words[at]! >>> 0) + (words[at + 1]! >>> 0) * TWO32;
}

/** A table of descriptors somewhere in guest memory, read in place where it lies well and copied where it does not. */
export class IndirectTable {
  words: Int32Array = new Int32Array(0);
  first = 0;
  count = 0;
  private readonly scratch = new Int32Array(VHOST_LIMITS.chainDescriptors * DESCRIPTOR_WORDS);
  private readonly scratchBytes = Buffer.from(this.scratch.buffer);
  private readonly pieces = new SliceList();

  /** @returns what is wrong with it, or null */
  open(memory: GuestMemory, address: number, lengthBytes: number): string | null {
    if (lengthBytes === 0 || lengthBytes % DESCRIPTOR_BYTES !== 0) return 'indirect table of an odd length';
    this.count = lengthBytes / DESCRIPTOR_BYTES;
    if (this.count > VHOST_LIMITS.chainDescriptors) return 'indirect table is too long';
    const window = memory.at(address);
    if (window === null) return 'indirect table outside of the guest memory';
    const offset = address - window.guestAddress;
    if ((offset & 3) === 0 && address + lengthBytes <= window.guestEnd) {
      this.words = window.words;
      this.first = offset >>> 2;
      return null;
    }
    this.pieces.clear();
    if (!memory.append(this.pieces, address, lengthBytes))
      return 'indirect table outside of the guest memory';
    this.pieces.toBuffer().copy(this.scratchBytes);
    this.words = this.scratch;
    this.first = 0;
    return null;
  }
}
