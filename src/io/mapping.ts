import { loadNative, type Mapped } from '../native/index.js';
import { errnoError } from './errno.js';
import type { Memory } from './memory.js';

/** A mapping of our own making, to be given back when no operation names it any more. */
export class Mapping implements Memory {
  readonly bytes: Buffer;
  readonly address: number;

  constructor(mapped: Mapped) {
    this.bytes = Buffer.from(mapped.bytes);
    this.address = mapped.address;
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
