import { loadNative, type Mapped } from '../native/index.js';
import { errnoError } from './errno.js';
import type { Memory } from './memory.js';

/** A mapping of our own making, to be given back when no operation names it any more. */
export class Mapping implements Memory {
  readonly bytes: Buffer;
  readonly address: number;

  /** Of one that others may shrink; -1: of none. */
  private readonly guard: number;

  constructor(mapped: Mapped, guard = -1) {
    this.guard = guard;
    this.bytes = Buffer.from(mapped.bytes);
    this.address = mapped.address;
  }

  /** Memory of it was gone when it was touched, and reads as zeros. */
  get isTorn(): boolean {
    return this.guard >= 0 && tornFlags()[1 + this.guard] !== 0;
  }

  /** Every view of it is empty from here on. */
  unmap(): void {
    loadNative().unmap(this.bytes.buffer as ArrayBuffer);
  }
}

/** Zeroed private memory; pages are taken when they are touched. @throws RawstorError */
export function mapAnonymous(sizeBytes: number): Mapping {
  return checked(loadNative().mapAnonymous(sizeBytes), `${sizeBytes} bytes`);
}

/** A window, at most 4 GiB, on a file or memfd; `offset` is a multiple of the page size. @throws RawstorError */
export function mapDescriptor(fd: number, offset: number, sizeBytes: number, writable = true): Mapping {
  return checked(loadNative().mapFd(fd, offset, sizeBytes, writable), `descriptor ${fd}`);
}

function checked(mapped: Mapped | number, where: string): Mapping {
  if (typeof mapped === 'number') throw errnoError(mapped, 'mmap', where);
  return new Mapping(mapped);
}

/**
 * As `mapDescriptor`, of memory that another process may shrink under us: that one's doing must not end this process.
 * @param pageBytes of the file
 */
export function mapShared(fd: number, offset: number, sizeBytes: number, pageBytes: number): Mapping {
  const mapped = loadNative().mapShared(fd, offset, sizeBytes, pageBytes);
  if (typeof mapped === 'number') throw errnoError(mapped, 'mmap', `descriptor ${fd}`);
  return new Mapping(mapped, mapped.guard);
}

let torn: Int32Array | null = null;

function tornFlags(): Int32Array {
  torn ??= new Int32Array(loadNative().tornMemory());
  return torn;
}

/** Rises when memory of some mapping turns out to be gone. */
export function tornPages(): number {
  return tornFlags()[0]!;
}
