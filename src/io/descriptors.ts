import { loadNative, type NativeHandle } from '../native/index.js';
import { EAGAIN, errnoError } from './errno.js';
import { openListening, stopListening } from './listen.js';

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

  unref(): void {
    loadNative().watchRef(this.handle, false);
  }

  close(): void {
    loadNative().watchClose(this.handle);
  }
}

/** A non-blocking eventfd, made here or passed to us. */
export class EventFd {
  readonly fd: number;

  constructor(fd?: number) {
    this.fd = fd ?? loadNative().eventfdCreate();
    if (this.fd < 0) throw errnoError(this.fd, 'eventfd', '');
  }

  signal(): void {
    loadNative().eventfdWrite(this.fd, 1);
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

/** What came in one message; the receiver owns the descriptors. */
export interface Received {
  /** Fewer than asked for only at the end of the connection. */
  bytes: Buffer;
  fds: number[];
}

/** A Unix socket that passes descriptors along with bytes: control channels such as vhost-user's. */
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

  static pair(): [DescriptorSocket, DescriptorSocket] {
    const fds = loadNative().socketPair();
    if (typeof fds === 'number') throw errnoError(fds, 'socketpair', '');
    return [new DescriptorSocket(fds[0]), new DescriptorSocket(fds[1])];
  }

  /** Sends all bytes, the descriptors with the first; waits while the other side's buffer is full. */
  send(bytes: Uint8Array, fds: number[] = []): void {
    const result = loadNative().sendDescriptors(this.fd, bytes, 0, bytes.length, fds);
    if (result < 0) throw errnoError(result, 'sendmsg', 'descriptor socket');
  }

  /** Exactly `lengthBytes`; null when nothing has come yet. Once a first byte is there, the rest is waited for. */
  receive(lengthBytes: number): Received | null {
    const bytes = Buffer.alloc(lengthBytes);
    const result = loadNative().receiveDescriptors(this.fd, bytes, 0, lengthBytes, false);
    if (result === -EAGAIN) return null;
    if (typeof result === 'number') throw errnoError(result, 'recvmsg', 'descriptor socket');
    return { bytes: bytes.subarray(0, result.bytes), fds: result.fds };
  }

  /** Calls back while there is something to receive, or the connection has ended. */
  onReadable(callback: () => void): void {
    this.watch?.close();
    this.watch = new ReadableWatch(this.fd, callback);
  }

  close(): void {
    this.watch?.close();
    loadNative().closeFd(this.fd);
  }
}

export interface DescriptorListener {
  close(): void;
}

/** @throws RawstorError BUSY when somebody listens on the path; a stale one is replaced */
export async function listenDescriptors(
  path: string,
  onSocket: (socket: DescriptorSocket) => void,
): Promise<DescriptorListener> {
  const listening = await openListening(`unix:${path}`);
  const watch = new ReadableWatch(listening.fd, () => {
    const fd = loadNative().socketAccept(listening.fd);
    if (fd >= 0) onSocket(new DescriptorSocket(fd));
  });
  return {
    close: () => {
      watch.close();
      stopListening(listening);
    },
  };
}
