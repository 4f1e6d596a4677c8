import { createRequire } from 'node:module';
import { RawstorError } from '../common/errors.js';

/** Raised with every change of what the addon offers; addon.cc has the same. */
const ABI = 2;

/**
 * The addon. System calls answer their result, or a negative errno. Addresses, sizes and offsets are numbers,
 * exact below 2^53.
 */
export interface Native {
  readonly abi: number;

  ringCreate(entries: number, cqEntries: number): RingDescription | number;
  ringClose(handle: NativeHandle, rings: ArrayBuffer, sqes: ArrayBuffer): void;
  ringEnter(enterFd: number, toSubmit: number, minComplete: number, flags: number): number;
  /** Waits on the CPU, no longer than `maxNs`, until the kernel has something to reap; false when it has not. */
  ringPoll(handle: NativeHandle, maxNs: number): boolean;
  ringRegisterEventfd(fd: number, eventfd: number): number;
  ringSupports(fd: number, opcode: number): boolean;

  /** Calls back whenever the descriptor is readable; `drain` reads 8 bytes (an eventfd's count) before. */
  watchCreate(fd: number, drain: boolean, callback: () => void): NativeHandle | number;
  watchClose(handle: NativeHandle): void;
  watchRef(handle: NativeHandle, keepsAlive: boolean): void;
  watchPause(handle: NativeHandle, paused: boolean): void;
  eventfdCreate(): number;
  eventfdRead(fd: number): number;
  eventfdWrite(fd: number, count: number): number;

  mapAnonymous(sizeBytes: number): Mapped | number;
  /** At most 4 GiB at a time: no ArrayBuffer is larger. */
  mapFd(fd: number, offset: number, sizeBytes: number, writable: boolean): Mapped | number;
  /** Detaches the buffer first, so that no view is left on memory that is gone. */
  unmap(bytes: ArrayBuffer): void;
  adviseHugePages(address: number, sizeBytes: number): number;
  memfdCreate(name: string, sizeBytes: number): number;

  /**
   * Rows of (fd, address, length, offset). A row with offset -1 goes on where the row before it ends and is
   * written in one gather with it. The result, bytes or -errno, replaces `fd` in the first row of each gather.
   */
  pwriteBatch(rows: Float64Array, count: number): void;
  fallocate(fd: number, mode: number, offset: number, sizeBytes: number): number;
  seek(fd: number, offset: number, whence: number): number;
  reflink(toFd: number, fromFd: number): number;
  syncFileRange(fd: number, offset: number, sizeBytes: number, flags: number): number;
  fdatasync(fd: number): number;
  lockExclusive(fd: number): number;
  closeFd(fd: number): number;

  crc32c(bytes: Uint8Array, offset: number, length: number, before: number, software: boolean): number;
  crc32cAt(address: number, length: number, before: number): number;
  crc32cAgrees(address: number, blockBytes: number, blocks: number, sums: Uint32Array, first: number): number;

  /** `host` is a numeric IP address, or an absolute path (then a Unix socket, and `port` means nothing). */
  socketListen(host: string, port: number, backlog: number): number;
  socketOpen(host: string, port: number, sockaddr: Uint8Array): { fd: number; length: number } | number;
  socketConnect(host: string, port: number): number;
  socketAccept(fd: number): number;
  socketPair(): [number, number] | number;
  socketName(fd: number, peer: boolean): string;
  socketShutdown(fd: number, how: number): number;
  socketNoDelay(fd: number): number;
  socketBuffers(fd: number, sendBytes: number, receiveBytes: number): number;
  sendDescriptors(fd: number, bytes: Uint8Array, offset: number, length: number, fds: number[]): number;
  /** Exactly `length` bytes, fewer only at the end of the stream; -EAGAIN if none is there and `wait` is not set. */
  receiveDescriptors(
    fd: number,
    bytes: Uint8Array,
    offset: number,
    length: number,
    wait: boolean,
  ): { bytes: number; fds: number[] } | number;
}

declare const nativeHandle: unique symbol;
/** An object of the addon's; good for nothing but handing it back. */
export interface NativeHandle {
  readonly [nativeHandle]: true;
}

export interface Mapped {
  readonly bytes: ArrayBuffer;
  readonly address: number;
}

/** A ring as mapped; `...At` are byte positions in `rings`. */
export interface RingDescription {
  readonly handle: NativeHandle;
  readonly fd: number;
  readonly enterFd: number;
  readonly enterFlags: number;
  readonly setupFlags: number;
  readonly features: number;
  readonly sqEntries: number;
  readonly cqEntries: number;
  readonly rings: ArrayBuffer;
  readonly sqes: ArrayBuffer;
  readonly sqHeadAt: number;
  readonly sqTailAt: number;
  readonly sqFlagsAt: number;
  readonly cqHeadAt: number;
  readonly cqTailAt: number;
  readonly cqFlagsAt: number;
  readonly cqOverflowAt: number;
  readonly cqesAt: number;
}

let loaded: Native | null = null;

/** @throws RawstorError UNAVAILABLE when the addon is not built */
export function loadNative(): Native {
  if (loaded === null) {
    // The same distance from src/native (tsx) and dist/native.
    const path = new URL('../../build/Release/rawstor_native.node', import.meta.url).pathname;
    let addon: Native;
    try {
      addon = createRequire(import.meta.url)(decodeURIComponent(path)) as Native;
    } catch (cause) {
      throw new RawstorError('UNAVAILABLE', 'the native addon is not built', {
        where: path,
        hint: 'run `npm rebuild` (or scripts/setup) in the directory of rawstor',
        cause,
      });
    }
    if (addon.abi !== ABI) {
      throw new RawstorError(
        'UNAVAILABLE',
        'the native addon was built from other sources than this program',
        {
          where: path,
          hint: 'run `npm rebuild` (or scripts/setup) in the directory of rawstor',
        },
      );
    }
    loaded = addon;
  }
  return loaded;
}
