import { createRequire } from 'node:module';
import { RawstorError } from '../common/errors.js';

/** Raised with every change of what the addon offers; addon.cc has the same. */
const ABI = 10;

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
  /** Calls back only when the other side has ended, until it is paused or goes on. */
  watchEnd(handle: NativeHandle): void;
  eventfdCreate(): number;
  eventfdRead(fd: number): number;
  /** Never waits, whatever others do with the descriptor; -EINVAL where it is no eventfd. */
  eventfdSignal(fd: number): number;

  /** On a thread of its own, which may take as long as it likes. False: there is no thread. */
  foreignClose(fds: number[], callback: () => void): boolean;
  /** So too. `fileSystem` as statfs has it, or a negative errno; `kind` as in `mode`. */
  foreignFile(fd: number, callback: (fileSystem: number, sizeBytes: number, kind: number) => void): boolean;

  mapAnonymous(sizeBytes: number): Mapped | number;
  /** At most 4 GiB at a time: no ArrayBuffer is larger. */
  mapFd(fd: number, offset: number, sizeBytes: number, writable: boolean): Mapped | number;
  /**
   * As `mapFd`, writable, of memory that others may shrink: what is gone then reads as zeros, a page of `pageBytes` at a
   * time, instead of ending the process by SIGBUS, and `tornMemory` tells.
   */
  mapShared(
    fd: number,
    offset: number,
    sizeBytes: number,
    pageBytes: number,
  ): (Mapped & { readonly guard: number }) | number;
  /** int32s: [0] counts the pages that were gone when touched, [1 + guard] is 1 for a mapping with such a page. */
  tornMemory(): ArrayBuffer;
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

  mountFileSystem(source: string, target: string, type: string, flags: number, data: string): number;
  /** Off the loop: what the kernel asks of the file system meanwhile can be served. */
  unmountFileSystem(target: string, flags: number): Promise<number>;
  /** `unique`: never used again while the kernel lives; Linux 6.8. */
  mountId(path: string, unique: boolean): number;
  /** By what the file system itself knows a file, which no copy shares; a negative errno where there is no such thing. */
  fileHandle(path: string): string | number;

  crc32c(bytes: Uint8Array, offset: number, length: number, before: number, software: boolean): number;
  crc32cAt(address: number, length: number, before: number): number;
  crc32cAgrees(address: number, blockBytes: number, blocks: number, sums: Uint32Array, first: number): number;

  /** Whether the library of a codec is on this machine; 1: zstd, 2: LZ4. */
  codecHas(method: number): boolean;
  /**
   * On another thread, which keeps both buffers until the callback.
   * @param callback bytes written to `to`; -1 where they do not fit, or `from` is no such data
   */
  codecRunLater(
    method: number,
    compressing: boolean,
    level: number,
    from: Uint8Array,
    to: Uint8Array,
    callback: (length: number) => void,
  ): void;

  /** AES-256-XTS over sectors of 512 bytes; -EINVAL for a key that is none. */
  xtsCreate(key: Uint8Array): NativeHandle | number;
  /** `from` and `to` are addresses, and may be the same; false when it could not be done. A sector of zeros is opened as zeros. */
  xtsRun(
    handle: NativeHandle,
    sealing: boolean,
    from: number,
    to: number,
    sectors: number,
    firstSector: number,
  ): boolean;
  /** The same on another thread; the memory must stay until the callback. */
  xtsRunLater(
    handle: NativeHandle,
    sealing: boolean,
    from: number,
    to: number,
    sectors: number,
    firstSector: number,
    callback: (done: boolean) => void,
  ): void;

  /** `host` is a numeric IP address, or an absolute path (then a Unix socket, and `port` means nothing). */
  socketListen(host: string, port: number, backlog: number): number;
  socketOpen(host: string, port: number, sockaddr: Uint8Array): { fd: number; length: number } | number;
  socketConnect(host: string, port: number): number;
  socketAccept(fd: number): number;
  /** The other side sends no more; what it has sent may still be there. */
  socketEnded(fd: number): boolean;
  socketPair(): [number, number] | number;
  socketName(fd: number, peer: boolean): string;
  socketShutdown(fd: number, how: number): number;
  /** No delay, and keepalive. */
  socketTcp(fd: number, idleSeconds: number, intervalSeconds: number, probes: number): number;
  /** A stream socket that listens. */
  socketListens(fd: number): boolean;
  socketBuffers(fd: number, sendBytes: number, receiveBytes: number): number;
  /** What the other side's buffer takes at once; the descriptors go with the first byte. */
  sendDescriptors(fd: number, bytes: Uint8Array, offset: number, length: number, fds: number[]): number;
  /** What is there of `length` bytes; 0 at the end of the stream, -EAGAIN if nothing is there yet. */
  receiveDescriptors(
    fd: number,
    bytes: Uint8Array,
    offset: number,
    length: number,
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
    const built = new URL('../../build/Release/rawstor_native.node', import.meta.url).pathname;
    // scripts/test-asan has another build of it.
    const path = process.env.RAWSTOR_NATIVE_ADDON ?? built;
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
