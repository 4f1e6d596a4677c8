import type { SliceList } from '../io/index.js';
import { closeDescriptor } from '../io/index.js';
import { type MappedPart, mapPart, type Window } from './guest-memory.js';

const PAGE_BYTES = 4096;

export interface LogDescription {
  readonly sizeBytes: number;
  readonly mapOffset: number;
}

/** The bitmap of a live migration: one bit for each page of guest memory that was written since it was copied. */
export class DirtyLog {
  readonly description: LogDescription;
  readonly fd: number;
  private readonly part: MappedPart;
  private readonly bits: Uint8Array;

  /** Takes the descriptor over, also when it fails. @throws RawstorError INVALID, OS_ERROR */
  constructor(description: LogDescription, fd: number) {
    const { mapOffset, sizeBytes } = description;
    this.description = description;
    this.fd = fd;
    try {
      this.part = mapPart(fd, mapOffset, sizeBytes);
    } catch (error) {
      closeDescriptor(fd);
      throw error;
    }
    this.bits = this.part.mapping.bytes.subarray(this.part.offset, this.part.offset + sizeBytes);
  }

  /**
   * What a request has changed: the first bytes of the list, whose memory is the guest's, and the status, its last byte. Not all
   * that a guest has named, which may be terabytes.
   */
  markSlices(list: SliceList, touchedBytes: number): void {
    const at = (i: number) => (list.memory[i] as Window).guestAddress + list.offset[i]!;
    let left = touchedBytes;
    for (let i = 0; i < list.count && left > 0; i++) {
      const lengthBytes = Math.min(left, list.length[i]!);
      this.mark(at(i), lengthBytes);
      left -= lengthBytes;
    }
    const last = list.count - 1;
    this.mark(at(last) + list.length[last]! - 1, 1);
  }

  mark(guestAddress: number, lengthBytes: number): void {
    const last = Math.floor((guestAddress + lengthBytes - 1) / PAGE_BYTES);
    for (let page = Math.floor(guestAddress / PAGE_BYTES); page <= last; page++) {
      const at = Math.floor(page / 8);
      if (at >= this.bits.length) return;
      Atomics.or(this.bits, at, 1 << (page % 8));
    }
  }

  get isTorn(): boolean {
    return this.part.mapping.isTorn;
  }

  close(): void {
    this.part.mapping.unmap();
    closeDescriptor(this.fd);
  }
}
