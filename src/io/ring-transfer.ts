import { assert } from '../common/assert.js';
import type { SliceList } from './memory.js';
import type { Ring } from './ring.js';
import * as abi from './ring-abi.js';
import { RingOp } from './ring-abi.js';

/** Longest transfer of one system call (MAX_RW_COUNT), and longest range in a 32-bit length, rounded down. */
export const TRANSFER_MAX_BYTES = 0x7ffff000;

/** A read or write (`single`, or `gather` for several pieces) of what the slices name from `progress` on. */
export function fillTransfer(
  ring: Ring,
  fd: number,
  slices: SliceList,
  fileOffset: number,
  progress: number,
  { single, gather }: { single: number; gather: number },
): void {
  const position = fileOffset + progress;
  if (slices.count === 1) {
    const memory = slices.memory[0]!;
    assert(memory.address !== 0, 'file operation on memory that is not mapped');
    const length = Math.min(slices.length[0]! - progress, TRANSFER_MAX_BYTES);
    ring.fill(single, fd, position, memory.address + slices.offset[0]! + progress, length, 0);
    return;
  }
  if (slices.lengthBytes === 0) {
    ring.fill(RingOp.NOP, -1, 0, 0, 0, 0);
    return;
  }
  const pieces = Math.min(slices.count, abi.IOVECS_MAX);
  const { scratch } = ring;
  const iovecs = scratch.reserveIovecs(pieces);
  let skip = progress;
  let used = 0;
  for (let i = 0; i < slices.count && used < pieces; i++) {
    const length = slices.length[i]!;
    if (skip >= length) {
      skip -= length;
      continue;
    }
    const memory = slices.memory[i]!;
    assert(memory.address !== 0, 'file operation on memory that is not mapped');
    scratch.setIovec(iovecs, used++, memory.address + slices.offset[i]! + skip, length - skip);
    skip = 0;
  }
  ring.fill(gather, fd, position, iovecs, used, 0);
}

export const READING = { single: RingOp.READ, gather: RingOp.READV } as const;
export const WRITING = { single: RingOp.WRITE, gather: RingOp.WRITEV } as const;
