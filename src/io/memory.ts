/**
 * One mapped area of memory that I/O is done from and to. `address` is the virtual address of byte 0, which
 * the ring needs; it is 0 for memory that only the Node fallback or the simulation uses.
 */
export interface Memory {
  readonly bytes: Buffer;
  readonly address: number;
}

/** Something whose last user says so; a count, not a garbage collector, because the memory is the kernel's too. */
export interface Releasable {
  release(): void;
}

/**
 * A short list of pieces of memory, to fill (read) or to send (write). Preallocated and reused: data-path
 * records own one and never make a new one. Lengths in bytes.
 */
export class SliceList {
  count = 0;
  lengthBytes = 0;
  readonly memory: Memory[] = [];
  readonly offset: number[] = [];
  readonly length: number[] = [];

  clear(): void {
    this.count = 0;
    this.lengthBytes = 0;
  }

  add(memory: Memory, offset: number, length: number): void {
    const at = this.count++;
    this.memory[at] = memory;
    this.offset[at] = offset;
    this.length[at] = length;
    this.lengthBytes += length;
  }

  /** Appends `length` bytes of `from`, starting `skip` bytes into it. */
  addRange(from: SliceList, skip: number, length: number): void {
    // Nearly always: one piece that holds the whole range.
    if (from.count === 1 && length > 0 && skip + length <= from.length[0]!) {
      this.add(from.memory[0]!, from.offset[0]! + skip, length);
      return;
    }
    let left = length;
    for (let i = 0; i < from.count && left > 0; i++) {
      const size = from.length[i]!;
      if (skip >= size) {
        skip -= size;
        continue;
      }
      const take = Math.min(size - skip, left);
      this.add(from.memory[i]!, from.offset[i]! + skip, take);
      skip = 0;
      left -= take;
    }
  }

  /** Copies `length` bytes from a memory into the list, starting `skip` bytes into the list. */
  fill(source: Memory, sourceOffset: number, skip: number, length: number): void {
    let left = length;
    let from = sourceOffset;
    for (let i = 0; i < this.count && left > 0; i++) {
      const size = this.length[i]!;
      if (skip >= size) {
        skip -= size;
        continue;
      }
      const take = Math.min(size - skip, left);
      source.bytes.copy(this.memory[i]!.bytes, this.offset[i]! + skip, from, from + take);
      skip = 0;
      from += take;
      left -= take;
    }
  }

  zeroFill(skip: number, length: number): void {
    let left = length;
    for (let i = 0; i < this.count && left > 0; i++) {
      const size = this.length[i]!;
      if (skip >= size) {
        skip -= size;
        continue;
      }
      const take = Math.min(size - skip, left);
      const from = this.offset[i]! + skip;
      this.memory[i]!.bytes.fill(0, from, from + take);
      skip = 0;
      left -= take;
    }
  }

  /** A copy of the bytes, for control paths and tests. */
  toBuffer(): Buffer {
    const parts: Buffer[] = [];
    for (let i = 0; i < this.count; i++) {
      parts.push(this.memory[i]!.bytes.subarray(this.offset[i]!, this.offset[i]! + this.length[i]!));
    }
    return Buffer.concat(parts);
  }
}

/** Memory outside any mapping: for control paths, tests and the simulation. Not for the ring. */
export function heapMemory(sizeBytes: number): Memory {
  return { bytes: Buffer.alloc(sizeBytes), address: 0 };
}
