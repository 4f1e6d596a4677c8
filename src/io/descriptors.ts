import { readFileSync, readlinkSync } from 'node:fs';
import { RawstorError } from '../common/errors.js';
import { loadNative, type NativeHandle } from '../native/index.js';
import { EAGAIN, errnoError } from './errno.js';
import { handedOn, type Listening, openListening, stopListening } from './listen.js';

/** Pause after the process ran out of descriptors. */
const EXHAUSTED_MS = 100;

/** Calls back in the event loop while a descriptor is readable. Close it before the descriptor. */
export class ReadableWatch {
  private readonly handle: NativeHandle;

  /** @param eventfd reads the count away before each call */
  constructor(fd: number, callback: () => void, eventfd = false) {
    const handle = loadNative().watchCreate(fd, eventfd, callback);
    if (typeof handle === 'number') throw errnoError(handle, 'uv_poll_init', `descriptor ${fd}`);
    this.handle = handle;
  }

  pause(paused: boolean): void {
    loadNative().watchPause(this.handle, paused);
  }

  /** Until `pause`, calls back only when the other side has ended. */
  awaitEnd(): void {
    loadNative().watchEnd(this.handle);
  }

  unref(): void {
    loadNative().watchRef(this.handle, false);
  }

  close(): void {
    loadNative().watchClose(this.handle);
  }
}

/** What the kernel calls an open file; asks nobody else. */
function linkOf(fd: number): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return '';
  }
}

/** A non-blocking eventfd, made here or passed to us. */
export class EventFd {
  readonly fd: number;

  constructor(fd?: number) {
    this.fd = fd ?? loadNative().eventfdCreate();
    if (this.fd < 0) throw errnoError(this.fd, 'eventfd', '');
  }

  /** Of one that was passed to us: writing to anything else could wait, or end up anywhere. */
  static isOne(fd: number): boolean {
    // Only of an eventfd, since others may have us wait there. Of one that is open as a mere path (O_PATH) no count is told.
    return (
      linkOf(fd) === 'anon_inode:[eventfd]' &&
      readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1').includes('\neventfd-count:')
    );
  }

  /** Never waits: a count that cannot rise any more has told already. */
  signal(): void {
    loadNative().eventfdSignal(this.fd);
  }

  /** The count, set back to zero; 0 when it was not signalled. */
  take(): number {
    return Math.max(0, loadNative().eventfdRead(this.fd));
  }

  watch(callback: () => void): ReadableWatch {
    return new ReadableWatch(this.fd, callback, true);
  }

  close(): void {
    loadNative().closeFd(this.fd);
  }
}

/** A Unix socket that passes descriptors along with bytes: control channels such as vhost-user's. Never waits. */
export class DescriptorSocket {
  readonly fd: number;
  private watch: ReadableWatch | null = null;

  constructor(fd: number) {
    this.fd = fd;
  }

  /** @throws RawstorError UNAVAILABLE ... */
  static connect(path: string): DescriptorSocket {
    const fd = loadNative().socketConnect(path, 0);
    if (fd < 0) throw errnoError(fd, 'connect', path);
    return new DescriptorSocket(fd);
  }

  /** Of a socket that this process was started with: null when it listens instead of being connected. */
  static inherited(fd: number): DescriptorSocket | null {
    return loadNative().socketName(fd, true) === '' ? null : new DescriptorSocket(fd);
  }

  /** Of a descriptor that was passed to us. */
  static isOne(fd: number): boolean {
    return linkOf(fd).startsWith('socket:[');
  }

  static pair(): [DescriptorSocket, DescriptorSocket] {
    const fds = loadNative().socketPair();
    if (typeof fds === 'number') throw errnoError(fds, 'socketpair', '');
    return [new DescriptorSocket(fds[0]), new DescriptorSocket(fds[1])];
  }

  /**
   * Sends all bytes, the descriptors with the first.
   * @throws RawstorError LIMIT when the other side's buffer is full: it reads nothing
   */
  send(bytes: Uint8Array, fds: number[] = []): void {
    const result = loadNative().sendDescriptors(this.fd, bytes, 0, bytes.length, fds);
    if (result === -EAGAIN || (result >= 0 && result < bytes.length)) {
      throw new RawstorError('LIMIT', 'the other side of a control socket takes nothing');
    }
    if (result < 0) throw errnoError(result, 'sendmsg', 'descriptor socket');
  }

  /**
   * Receives what is there into `bytes`, at most `lengthBytes`; descriptors that come along are added to `fds` and are
   * the caller's. @returns bytes received, 0 at the end of the connection, null when nothing has come yet
   */
  receive(bytes: Buffer, offset: number, lengthBytes: number, fds: number[]): number | null {
    const result = loadNative().receiveDescriptors(this.fd, bytes, offset, lengthBytes);
    if (result === -EAGAIN) return null;
    if (typeof result === 'number') throw errnoError(result, 'recvmsg', 'descriptor socket');
    fds.push(...result.fds);
    return result.bytes;
  }

  /** Calls back while there is something to receive, or the connection has ended. */
  onReadable(callback: () => void): void {
    this.watch?.close();
    this.watch = new ReadableWatch(this.fd, callback);
  }

  pause(paused: boolean): void {
    this.watch?.pause(paused);
  }

  /** Until `pause`, calls back only when the connection has ended, whatever there is to receive. */
  awaitEnd(): void {
    this.watch?.awaitEnd();
  }

  /** The other side has ended the connection; what it has sent before may still be here. */
  get hasEnded(): boolean {
    return loadNative().socketEnded(this.fd);
  }

  close(): void {
    loadNative().closeFd(this.release());
  }

  /** Its descriptor, for somebody else to close. */
  release(): number {
    this.watch?.close();
    this.watch = null;
    return this.fd;
  }
}

/** Gives back a descriptor that was passed to us. */
export function closeDescriptor(fd: number): void {
  loadNative().closeFd(fd);
}

/** A memfd of zeros, to be shared. @throws RawstorError OS_ERROR */
export function createMemfd(name: string, sizeBytes: number): number {
  const fd = loadNative().memfdCreate(name, sizeBytes);
  if (fd < 0) throw errnoError(fd, 'memfd_create', name);
  return fd;
}

export interface DescriptorListener {
  readonly fd: number;
  /** Of its socket file; null where somebody else has made that. */
  readonly path: string | null;
  /** Who connects meanwhile is accepted later. */
  pause(paused: boolean): void;
  close(): void;
  /** Another process goes on with it: the socket file stays. */
  release(): void;
}

/** `path` may be `fd:N`. @throws RawstorError BUSY when somebody listens on the path; a stale one is replaced */
export async function listenDescriptors(
  path: string,
  onSocket: (socket: DescriptorSocket) => void,
): Promise<DescriptorListener> {
  return acceptFrom(await openListening(path.startsWith('fd:') ? path : `unix:${path}`), onSocket);
}

/** A socket that another process has listened on, and its file from here on. Takes the descriptor over. */
export function listenOn(
  fd: number,
  path: string | null,
  onSocket: (socket: DescriptorSocket) => void,
): DescriptorListener {
  return acceptFrom(handedOn(fd, path), onSocket);
}

function acceptFrom(listening: Listening, onSocket: (socket: DescriptorSocket) => void): DescriptorListener {
  let paused = false;
  let exhausted: NodeJS.Timeout | null = null;
  const watch = new ReadableWatch(listening.fd, () => {
    const fd = loadNative().socketAccept(listening.fd);
    if (fd >= 0) return onSocket(new DescriptorSocket(fd));
    if (fd === -EAGAIN) return;
    // Who connects stays in the queue, and would be told of again and again.
    watch.pause(true);
    exhausted = setTimeout(() => {
      exhausted = null;
      watch.pause(paused);
    }, EXHAUSTED_MS);
  });
  const end = () => {
    if (exhausted !== null) clearTimeout(exhausted);
    watch.close();
  };
  return {
    fd: listening.fd,
    path: listening.path,
    pause: (wanted) => {
      paused = wanted;
      if (exhausted === null) watch.pause(paused);
    },
    close: () => {
      end();
      stopListening(listening);
    },
    release: () => {
      end();
      closeDescriptor(listening.fd);
    },
  };
}
