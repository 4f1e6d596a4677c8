import { RawstorError } from '../common/errors.js';
import { loadNative } from '../native/index.js';
import { type FileBase, openDescriptor } from './file-base.js';
import { KEEPALIVE } from './keepalive.js';
import { openListening } from './listen.js';
import { mapAnonymous } from './mapping.js';
import { BufferPool } from './pool.js';
import { Ring, type RingOptions, type RoundWork } from './ring.js';
import { StalledStreams } from './stalled-streams.js';
import type { StreamBase, StreamHost } from './stream-base.js';
import { TaskQueue } from './tasks.js';
import type { Address, BatchTask, Io, IoFile, Listener, OpenOptions, Stream } from './types.js';
import { type Attempts, connectDescriptor } from './uring-connect.js';
import { UringFile } from './uring-file.js';
import { UringListener } from './uring-listener.js';
import { UringStream } from './uring-stream.js';
import { WriteBatch } from './write-batch.js';

/** Io on io_uring: one ring in the event loop of this thread. */
export class UringIo implements Io, RoundWork, StreamHost {
  readonly kind = 'uring';
  readonly pool: BufferPool;
  readonly ring: Ring;
  private readonly memory: ReturnType<typeof mapAnonymous>;
  private readonly tasks = new TaskQueue();
  private readonly writes = new WriteBatch();
  private readonly streams = new Set<StreamBase>();
  private readonly stalled: StalledStreams;
  private readonly files = new Set<FileBase>();
  private readonly listeners = new Set<UringListener>();
  private readonly attempts: Attempts = new Set();
  private closing: Promise<void> | null = null;

  /** @throws RawstorError UNAVAILABLE where io_uring is refused */
  constructor(poolBytes: number, options: RingOptions = {}) {
    this.memory = mapAnonymous(poolBytes);
    try {
      this.ring = new Ring(this, options);
    } catch (error) {
      this.memory.unmap();
      throw error;
    }
    this.pool = new BufferPool(this.memory);
    this.stalled = new StalledStreams(this.pool, this.streams);
  }

  get pending(): boolean {
    return this.tasks.pending || this.writes.pending;
  }

  runRound(): void {
    this.tasks.run();
    if (this.writes.pending) {
      this.writes.flush();
      this.tasks.run();
    }
  }

  schedule(task: BatchTask): void {
    this.tasks.add(task);
    this.ring.arrange();
  }

  scheduleUnchecked(task: BatchTask): void {
    this.tasks.addUnchecked(task);
    this.ring.arrange();
  }

  async openFile(path: string, options: OpenOptions): Promise<IoFile> {
    this.checkOpen();
    const fd = await openDescriptor(path, options);
    const onClosed = (file: FileBase) => this.files.delete(file);
    const file = new UringFile(this.ring, this.writes, fd, path, options.direct === true, onClosed);
    this.files.add(file);
    return file;
  }

  async listen(address: Address, onStream: (stream: Stream) => void): Promise<Listener> {
    this.checkOpen();
    const listening = await openListening(address);
    const listener = new UringListener(
      this.ring,
      listening,
      (fd) => onStream(this.addStream(fd, listening.address)),
      (closed) => this.listeners.delete(closed),
    );
    this.listeners.add(listener);
    return listener;
  }

  async connect(address: Address, options: { timeoutMs: number }): Promise<Stream> {
    this.checkOpen();
    const fd = await connectDescriptor(this.ring, address, options.timeoutMs, this.attempts);
    return this.addStream(fd, address, address);
  }

  streamClosed(stream: StreamBase): void {
    this.streams.delete(stream);
  }

  close(): Promise<void> {
    this.closing ??= this.shutDown();
    return this.closing;
  }

  private async shutDown(): Promise<void> {
    for (const cancel of this.attempts) cancel();
    this.stalled.close();
    for (const stream of this.streams) stream.destroy();
    await Promise.all(Array.from(this.listeners, (listener) => listener.close()));
    do {
      // Streams that had nothing under way give their descriptors back in the next turn.
      await new Promise((resolve) => setImmediate(resolve));
      await this.ring.whenIdle();
    } while (this.streams.size > 0 || this.ring.inFlight > 0 || this.pending);
    await Promise.all(Array.from(this.files, (file) => file.close()));
    this.ring.close();
    this.memory.unmap();
  }

  private checkOpen(): void {
    if (this.closing !== null) throw new RawstorError('UNAVAILABLE', 'this program is shutting down');
  }

  private addStream(fd: number, address: Address, peer?: Address): UringStream {
    const native = loadNative();
    // Of a socket that was handed to this process the address may be no path: systemd's `@name`.
    if (address.startsWith('tcp:')) native.socketTcp(fd, KEEPALIVE.idleS, KEEPALIVE.everyS, KEEPALIVE.probes);
    const name = peer ?? (native.socketName(fd, true).replace(/^unix:$/, '') || `${address}#${fd}`);
    const stream = new UringStream(this, this.ring, fd, name);
    this.streams.add(stream);
    return stream;
  }
}
