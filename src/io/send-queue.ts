import type { Memory, Releasable } from './memory.js';

/** Pieces that wait to be sent, in order: a ring of preallocated columns that grows by doubling. */
export class SendQueue {
  /** Bytes queued and not yet taken. */
  bytes = 0;
  count = 0;
  private capacity = 64;
  private head = 0;
  private memories: (Memory | null)[] = new Array(64).fill(null);
  private owners: (Releasable | null)[] = new Array(64).fill(null);
  private offsets = new Float64Array(64);
  private lengths = new Float64Array(64);

  push(memory: Memory, offset: number, lengthBytes: number, owner: Releasable | null): void {
    if (this.count === this.capacity) this.grow();
    const at = (this.head + this.count) & (this.capacity - 1);
    this.memories[at] = memory;
    this.offsets[at] = offset;
    this.lengths[at] = lengthBytes;
    this.owners[at] = owner;
    this.count++;
    this.bytes += lengthBytes;
  }

  memory(index: number): Memory {
    return this.memories[(this.head + index) & (this.capacity - 1)]!;
  }

  offset(index: number): number {
    return this.offsets[(this.head + index) & (this.capacity - 1)]!;
  }

  length(index: number): number {
    return this.lengths[(this.head + index) & (this.capacity - 1)]!;
  }

  /** Other memory with the first piece's bytes: a copy that the kernel can be shown. */
  replaceFirst(memory: Memory, offset: number, owner: Releasable): void {
    const at = this.head;
    const before = this.owners[at]!;
    this.memories[at] = memory;
    this.offsets[at] = offset;
    this.owners[at] = owner;
    if (before !== null) before.release();
  }

  /** Cuts the first piece after `lengthBytes`; its owner stays with the second part. */
  splitFirst(lengthBytes: number): void {
    if (this.count === this.capacity) this.grow();
    const second = this.head;
    const first = (second - 1) & (this.capacity - 1);
    this.head = first;
    this.count++;
    this.memories[first] = this.memories[second]!;
    this.owners[first] = null;
    this.offsets[first] = this.offsets[second]!;
    this.lengths[first] = lengthBytes;
    this.offsets[second] = this.offsets[second]! + lengthBytes;
    this.lengths[second] = this.lengths[second]! - lengthBytes;
  }

  /** The kernel took so many bytes: whole pieces leave, their owners are released. */
  taken(lengthBytes: number): void {
    let left = lengthBytes;
    this.bytes -= lengthBytes;
    while (this.count > 0) {
      const at = this.head;
      const length = this.lengths[at]!;
      if (length > left) {
        this.offsets[at] = this.offsets[at]! + left;
        this.lengths[at] = length - left;
        return;
      }
      left -= length;
      this.pop(at);
    }
  }

  /** Drops everything and releases the owners. */
  clear(): void {
    this.bytes = 0;
    while (this.count > 0) this.pop(this.head);
  }

  private pop(at: number): void {
    const owner = this.owners[at]!;
    this.owners[at] = null;
    this.memories[at] = null;
    this.head = (at + 1) & (this.capacity - 1);
    this.count--;
    if (owner !== null) owner.release();
  }

  private grow(): void {
    const { capacity, head } = this;
    const rotate = <T>(from: ArrayLike<T>): T[] =>
      Array.from({ length: capacity }, (_, i) => from[(head + i) & (capacity - 1)]!);
    this.memories = [...rotate(this.memories), ...new Array(capacity).fill(null)];
    this.owners = [...rotate(this.owners), ...new Array(capacity).fill(null)];
    const offsets = new Float64Array(2 * capacity);
    const lengths = new Float64Array(2 * capacity);
    offsets.set(rotate(this.offsets));
    lengths.set(rotate(this.lengths));
    this.offsets = offsets;
    this.lengths = lengths;
    this.head = 0;
    this.capacity = 2 * capacity;
  }
}
