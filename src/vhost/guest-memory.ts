import { fstatSync } from 'node:fs';
import { RawstorError } from '../common/errors.js';
import { GiB } from '../common/units.js';
import { closeDescriptor, type Mapping, type Memory, mapShared, type SliceList } from '../io/index.js';
import { VHOST_LIMITS } from './constants.js';
import type { RegionDescription } from './messages.js';

/** Offsets in a window stay small integers of the machine; no ArrayBuffer is larger than 4 GiB anyway. */
const WINDOW_BYTES = GiB;

/** A piece of guest memory as mapped here; `bytes[0]` is at `guestAddress`. */
export class Window implements Memory {
  readonly bytes: Buffer;
  readonly address: number;
  readonly guestAddress: number;
  readonly guestEnd: number;
  /** Little-endian words from the first address on that is a multiple of 4 in the mapping. */
  readonly words: Int32Array;
  private readonly mapping: Mapping;

  constructor(guestAddress: number, sizeBytes: number, part: MappedPart) {
    this.mapping = part.mapping;
    this.bytes = part.mapping.bytes.subarray(part.offset, part.offset + sizeBytes);
    this.address = part.mapping.address + part.offset;
    this.guestAddress = guestAddress;
    this.guestEnd = guestAddress + sizeBytes;
    this.words = new Int32Array(this.bytes.buffer, this.bytes.byteOffset, sizeBytes >>> 2);
  }

  get isTorn(): boolean {
    return this.mapping.isTorn;
  }

  unmap(): void {
    this.mapping.unmap();
  }
}

/** A mapping and where in it begins what was asked for. */
export interface MappedPart {
  readonly mapping: Mapping;
  readonly offset: number;
}

/** Maps any range of a descriptor. @throws RawstorError INVALID where the file ends before */
export function mapPart(fd: number, offset: number, sizeBytes: number): MappedPart {
  if (sizeBytes > WINDOW_BYTES) {
    throw new RawstorError(
      'INVALID',
      `${sizeBytes} bytes are to be mapped in one piece, more than ${WINDOW_BYTES}`,
    );
  }
  const { size, blksize } = fstatSync(fd);
  if (offset + sizeBytes > size) {
    throw new RawstorError('INVALID', `memory of ${size} bytes was passed for ${offset}+${sizeBytes}`);
  }
  // Of huge pages the block size is theirs; everything is mapped in whole ones.
  const pageBytes = Math.max(4096, blksize);
  const from = Math.floor(offset / pageBytes) * pageBytes;
  const until = Math.ceil((offset + sizeBytes) / pageBytes) * pageBytes;
  return { mapping: mapShared(fd, from, until - from, pageBytes), offset: offset - from };
}

interface Region extends RegionDescription {
  readonly fd: number;
  readonly windows: Window[];
}

/** The guest's memory as the front-end has shared it: regions, each mapped in windows. */
export class GuestMemory {
  private regions: Region[] = [];
  private windows: Window[] = [];
  private last: Window | null = null;
  private readonly close: (fds: number[]) => void;

  /** @param close of what was shared: the last who closes it gives all its pages back, which takes its time */
  constructor(close: (fds: number[]) => void = (fds) => fds.forEach(closeDescriptor)) {
    this.close = close;
  }

  get slots(): number {
    return this.regions.length;
  }

  /** As they were shared; the descriptors stay here. */
  shared(): readonly (RegionDescription & { readonly fd: number })[] {
    return this.regions;
  }

  /** Takes the descriptor over, also when it fails. @throws RawstorError INVALID, LIMIT, OS_ERROR */
  add(description: RegionDescription, fd: number): void {
    const windows: Window[] = [];
    try {
      if (this.regions.length >= VHOST_LIMITS.memorySlots) {
        throw new RawstorError('LIMIT', `${VHOST_LIMITS.memorySlots} memory regions are shared already`);
      }
      if (this.regions.some((region) => overlap(region, description))) {
        throw new RawstorError('INVALID', 'memory regions overlap');
      }
      const { guestAddress, sizeBytes, mapOffset } = description;
      if (guestAddress % 4096 !== 0 || mapOffset % 4096 !== 0)
        throw new RawstorError('INVALID', 'a memory region is not whole pages');
      for (let at = 0; at < sizeBytes; at += WINDOW_BYTES) {
        // What the process can watch over for all devices is bounded too.
        if (this.windows.length + windows.length >= VHOST_LIMITS.memoryWindows) {
          throw new RawstorError('LIMIT', `${VHOST_LIMITS.memoryWindows} GiB of memory are shared already`);
        }
        const length = Math.min(WINDOW_BYTES, sizeBytes - at);
        windows.push(new Window(guestAddress + at, length, mapPart(fd, mapOffset + at, length)));
      }
    } catch (error) {
      for (const window of windows) window.unmap();
      closeDescriptor(fd);
      throw error;
    }
    this.regions.push({ ...description, fd, windows });
    this.changed();
  }

  /** The front-end has taken some of it away. */
  get isTorn(): boolean {
    return this.windows.some((window) => window.isTorn);
  }

  /** Nothing may be in flight that names it. @returns false when there is no such region */
  remove({ guestAddress, sizeBytes, userAddress }: RegionDescription): boolean {
    const at = this.regions.findIndex(
      (region) =>
        region.guestAddress === guestAddress &&
        region.sizeBytes === sizeBytes &&
        region.userAddress === userAddress,
    );
    if (at < 0) return false;
    const [region] = this.regions.splice(at, 1);
    this.unmap(region!);
    this.close([region!.fd]);
    this.changed();
    return true;
  }

  /** Nothing may be in flight that names it. */
  clear(): void {
    for (const region of this.regions) this.unmap(region);
    this.close(this.regions.map(({ fd }) => fd));
    this.regions = [];
    this.changed();
  }

  /** Appends a range of guest addresses; false where it is not all memory. */
  append(list: SliceList, guestAddress: number, lengthBytes: number): boolean {
    while (lengthBytes > 0) {
      const window = this.at(guestAddress);
      if (window === null) return false;
      const take = Math.min(lengthBytes, window.guestEnd - guestAddress);
      list.add(window, guestAddress - window.guestAddress, take);
      guestAddress += take;
      lengthBytes -= take;
    }
    return true;
  }

  /** The window with this guest address, or null. */
  at(guestAddress: number): Window | null {
    const last = this.last;
    if (last !== null && guestAddress >= last.guestAddress && guestAddress < last.guestEnd) return last;
    for (const window of this.windows) {
      if (guestAddress >= window.guestAddress && guestAddress < window.guestEnd) {
        this.last = window;
        return window;
      }
    }
    return null;
  }

  /** A mapping of its own of a range of the front-end's addresses, in one piece; null where that is not in one region. */
  mapRange(userAddress: number, sizeBytes: number): MappedPart | null {
    for (const region of this.regions) {
      const skip = userAddress - region.userAddress;
      if (skip < 0 || skip + sizeBytes > region.sizeBytes) continue;
      return mapPart(region.fd, region.mapOffset + skip, sizeBytes);
    }
    return null;
  }

  /** Where in the guest's memory one of the front-end's addresses is; null where it is not. */
  guestAddressOf(userAddress: number): number | null {
    for (const { userAddress: from, sizeBytes, guestAddress } of this.regions) {
      if (userAddress >= from && userAddress < from + sizeBytes) return guestAddress + userAddress - from;
    }
    return null;
  }

  private unmap(region: Region): void {
    for (const window of region.windows) window.unmap();
  }

  private changed(): void {
    this.last = null;
    this.windows = this.regions.flatMap((region) => region.windows);
  }
}

function overlap(a: RegionDescription, b: RegionDescription): boolean {
  return (
    (a.guestAddress < b.guestAddress + b.sizeBytes && b.guestAddress < a.guestAddress + a.sizeBytes) ||
    (a.userAddress < b.userAddress + b.sizeBytes && b.userAddress < a.userAddress + a.sizeBytes)
  );
}
