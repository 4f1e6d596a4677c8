import { createServer, connect as netConnect, type Server, type Socket } from 'node:net';
import { RawstorError } from '../common/errors.js';
import { formatTcp, parseAddress } from './address.js';
import { errnoOf } from './errno.js';
import { type FileBase, openDescriptor } from './file-base.js';
import { KEEPALIVE } from './keepalive.js';
import { type Listening, openListening, removeSocketFile } from './listen.js';
import { mapAnonymous } from './mapping.js';
import { type FileHost, NodeFile } from './node-file.js';
import { NodeStream } from './node-stream.js';
import { BufferPool } from './pool.js';
import { StalledStreams } from './stalled-streams.js';
import type { StreamBase, StreamHost } from './stream-base.js';
import { TaskQueue } from './tasks.js';
import type { Address, BatchTask, Io, IoFile, Listener, OpenOptions, Stream } from './types.js';
import { connectError, connectTimeout } from './uring-connect.js';
import { WriteBatch } from './write-batch.js';

const ROUNDS_MAX = 16;

/** Io on Node's fs and net, for systems that refuse io_uring. */
export class NodeIo implements Io, StreamHost, FileHost {
  readonly kind = 'node';
  readonly pool: BufferPool;
  readonly writes = new WriteBatch();
  jobs = 0;
  private readonly memory: ReturnType<typeof mapAnonymous>;
  private readonly tasks = new TaskQueue();
  private readonly streams = new Set<StreamBase>();
  private readonly stalled: StalledStreams;
  private readonly files = new Set<FileBase>();
  private readonly listeners = new Set<NodeListener>();
  private readonly attempts = new Set<Socket>();
  private arranged = false;
  private closing: Promise<void> | null = null;

  constructor(poolBytes: number) {
    this.memory = mapAnonymous(poolBytes);
    this.pool = new BufferPool(this.memory);
    this.stalled = new StalledStreams(this.pool, this.streams);
  }

  schedule(task: BatchTask): void {
    this.tasks.add(task);
    this.arrange();
  }

  scheduleUnchecked(task: BatchTask): void {
    this.tasks.addUnchecked(task);
    this.arrange();
  }

  /** Node runs immediates after all that a visit to the kernel brought: the end of a turn. */
  arrange(): void {
    if (this.arranged) return;
    this.arranged = true;
    setImmediate(this.turn);
  }

  async openFile(path: string, options: OpenOptions): Promise<IoFile> {
    this.checkOpen();
    const fd = await openDescriptor(path, options);
    const file = new NodeFile(this, fd, path, options.direct === true, (closed) => this.files.delete(closed));
    this.files.add(file);
    return file;
  }

  async listen(address: Address, onStream: (stream: Stream) => void): Promise<Listener> {
    this.checkOpen();
    const listening = await openListening(address);
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
      onStream(this.addStream(socket, peerName(socket) ?? `${address}#${socket.remotePort ?? ''}`));
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ fd: listening.fd }, resolve);
    });
    const listener = new NodeListener(server, listening, (closed) => this.listeners.delete(closed));
    this.listeners.add(listener);
    return listener;
  }

  async connect(address: Address, options: { timeoutMs: number }): Promise<Stream> {
    this.checkOpen();
    const parsed = parseAddress(address);
    const target = parsed.kind === 'unix' ? { path: parsed.path } : { host: parsed.host, port: parsed.port };
    const socket = netConnect({ ...target, allowHalfOpen: true });
    this.attempts.add(socket);
    try {
      await established(socket, address, options.timeoutMs);
    } catch (error) {
      socket.on('error', () => {});
      socket.destroy();
      throw error;
    } finally {
      this.attempts.delete(socket);
    }
    return this.addStream(socket, address);
  }

  streamClosed(stream: StreamBase): void {
    this.streams.delete(stream);
  }

  close(): Promise<void> {
    this.closing ??= this.shutDown();
    return this.closing;
  }

  private async shutDown(): Promise<void> {
    for (const socket of this.attempts) socket.destroy();
    this.stalled.close();
    for (const stream of this.streams) stream.destroy();
    await Promise.all(Array.from(this.listeners, (listener) => listener.close()));
    while (this.streams.size > 0 || this.jobs > 0 || this.arranged) {
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    await Promise.all(Array.from(this.files, (file) => file.close()));
    this.memory.unmap();
  }

  private readonly turn = (): void => {
    this.arranged = false;
    try {
      for (let round = 0; round < ROUNDS_MAX; round++) {
        this.tasks.run();
        if (!this.writes.pending) break;
        this.writes.flush();
      }
    } finally {
      if (this.tasks.pending || this.writes.pending) this.arrange();
    }
  };

  private checkOpen(): void {
    if (this.closing !== null) throw new RawstorError('UNAVAILABLE', 'this program is shutting down');
  }

  private addStream(socket: Socket, peer: string): NodeStream {
    // Node has the interval and the number of probes from the system.
    socket.setKeepAlive(true, KEEPALIVE.idleS * 1000);
    const stream = new NodeStream(this, socket, peer);
    this.streams.add(stream);
    return stream;
  }
}

class NodeListener implements Listener {
  readonly address: Address;
  private readonly server: Server;
  private readonly listening: Listening;
  private readonly onClosed: (listener: NodeListener) => void;

  constructor(server: Server, listening: Listening, onClosed: (listener: NodeListener) => void) {
    this.server = server;
    this.listening = listening;
    this.address = listening.address;
    this.onClosed = onClosed;
  }

  async close(): Promise<void> {
    if (!this.server.listening) return;
    this.server.close();
    removeSocketFile(this.listening);
    this.onClosed(this);
  }
}

function established(socket: Socket, address: Address, timeoutMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (outcome: RawstorError | null) => {
      clearTimeout(timer);
      socket.off('connect', onConnect).off('error', onError).off('close', onClose);
      if (outcome === null) resolve();
      else reject(outcome);
    };
    const onConnect = () => settle(null);
    const onError = (error: NodeJS.ErrnoException) => settle(refusal(error, address));
    const onClose = () =>
      settle(new RawstorError('UNAVAILABLE', 'this program is shutting down', { where: address }));
    const timer = setTimeout(() => settle(connectTimeout(address, timeoutMs)), timeoutMs);
    socket.on('connect', onConnect).on('error', onError).on('close', onClose);
  });
}

function peerName(socket: Socket): string | null {
  if (socket.remoteAddress === undefined || socket.remotePort === undefined) return null;
  return formatTcp(socket.remoteAddress, socket.remotePort);
}

function refusal(error: NodeJS.ErrnoException, address: Address): RawstorError {
  if (error.syscall !== 'getaddrinfo') return connectError(errnoOf(error), address);
  return new RawstorError('NOT_FOUND', 'the host is not known', {
    where: address,
    hint: 'check the name, or write its IP address',
    cause: error,
  });
}
