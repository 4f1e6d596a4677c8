import type { Memory, Releasable, SliceList } from './memory.js';
import type { BufferPool, PoolBuffer } from './pool.js';

/** `tcp://HOST:PORT` (port 0: any free one when listening) or `unix:/absolute/path`. */
export type Address = string;

/** Work gathered during a turn of the loop and done once at its end. */
export interface BatchTask {
  runBatch(): void;
}

/**
 * Everything the system asks of the operating system on the data path. Two implementations, io_uring and
 * Node's own fs and net, and a third one in the simulation, behind the same tests.
 */
export interface Io {
  readonly kind: 'uring' | 'node' | 'sim';
  /** Buffers that I/O may name. */
  readonly pool: BufferPool;
  /**
   * Runs the task once at the end of the current turn; a task scheduled twice in a turn runs once. Tasks may
   * schedule tasks. After the last one everything queued is submitted with one system call.
   */
  schedule(task: BatchTask): void;
  openFile(path: string, options: OpenOptions): Promise<IoFile>;
  listen(address: Address, onStream: (stream: Stream) => void): Promise<Listener>;
  /** @throws RawstorError UNAVAILABLE, TIMEOUT or NOT_FOUND, naming the address */
  connect(address: Address, options: { timeoutMs: number }): Promise<Stream>;
  /** Ends streams and files that are still open, then gives the ring and the pool back. */
  close(): Promise<void>;
}

export interface OpenOptions {
  create?: boolean;
  exclusive?: boolean;
  readOnly?: boolean;
  /** O_DIRECT: addresses, offsets and lengths are then multiples of 512. */
  direct?: boolean;
}

/**
 * One file operation; owned and reused by the caller, untouched between submit and `fileDone`. `result` is
 * bytes done (reads stop at end of file; writes are whole or an error) or a negative errno.
 */
export class FileOp {
  readonly slices: SliceList;
  fileOffset = 0;
  /** For punch, zero and writeback, where there are no slices. */
  lengthBytes = 0;
  owner: FileOpOwner;
  constructor(owner: FileOpOwner, slices: SliceList) {
    this.owner = owner;
    this.slices = slices;
  }
}

export interface FileOpOwner {
  fileDone(op: FileOp, result: number): void;
}

export interface IoFile {
  readonly fd: number;
  readonly path: string;
  read(op: FileOp): void;
  /** Buffered: done in one native call with all others of the turn. Direct: through the ring. */
  write(op: FileOp): void;
  /** fdatasync, off the loop. */
  sync(op: FileOp): void;
  /** Makes a hole; later reads give zeros. Length is kept. */
  punch(op: FileOp): void;
  /** Starts writing dirty pages out without waiting for them. */
  writeback(op: FileOp): void;
  /** Next data (or hole) at or after the offset; the file's size when there is none. Short and synchronous. */
  seekData(fileOffset: number): number;
  seekHole(fileOffset: number): number;
  sizeBytes(): number;
  /** Bytes the file really occupies. */
  allocatedBytes(): number;
  truncate(sizeBytes: number): Promise<void>;
  /** Refuses nothing: the caller has no operation in flight. */
  close(): Promise<void>;
}

/**
 * What a protocol tells its stream about framing. A stream receives in large gulps and calls `frame` for each
 * whole frame; several frames usually lie in one buffer.
 */
export interface FrameHandler {
  readonly headerBytes: number;
  /**
   * A whole header is at `offset`. Answers the number of payload bytes that follow, or -1 to stop receiving
   * for good (the handler has closed the stream, or will).
   */
  header(memory: Memory, offset: number): number;
  /**
   * The frame whose header was seen last is whole; the payload is contiguous at `offset` of
   * `buffer.memory` and lies in `buffer`, which is the stream's: retain it to keep it past the call. `buffer` is
   * null when there is no payload.
   */
  frame(buffer: PoolBuffer | null, offset: number, lengthBytes: number): void;
}

export interface Stream {
  /** Address of the other side, for messages. */
  readonly peer: string;
  readonly closed: boolean;
  /** Bytes queued and not yet taken by the kernel. */
  readonly queuedBytes: number;
  /** Bytes that have come so far. */
  readonly receivedBytes: number;
  /** Bytes that the kernel has taken so far. */
  readonly sentBytes: number;
  /** Pool bytes that lie ready for what comes, or hold what is half here. */
  readonly receivingBytes: number;
  /** Counts bytes that arrived, or -1 while none is awaited for a message that has begun. */
  readonly arriving: number;
  /** Counts bytes that left, or -1 while none waits to leave. */
  readonly leaving: number;
  /** Called once with null for an orderly end by the peer, or the error. All queued owners are released before. */
  onClose: ((error: Error | null) => void) | null;
  /**
   * Called once when the peer has ended its side, between two frames, and may still read answers. Whoever sets
   * it calls `end` when all are queued; without it the stream ends by itself after what is queued by then.
   */
  onPeerEnd: (() => void) | null;
  /** Called when queuedBytes falls to half of LIMITS.connectionQueuedBytes after having passed it. */
  onDrain: (() => void) | null;
  /** Gives most of the memory back that lies ready for what may come. For a stream from which nothing has come lately. */
  shrink(): void;
  /** Begins to receive, or goes on with other framing (NBD's phases) from the bytes not yet consumed. */
  receive(handler: FrameHandler): void;
  /** Stops and restarts parsing and receiving; frames already parsed are not taken back. */
  pause(): void;
  resume(): void;
  /** Queues bytes; all that is queued in a turn leaves in one gather at its end. The owner is released when the kernel has them. */
  send(memory: Memory, offset: number, lengthBytes: number, owner: Releasable | null): void;
  /** Copies and queues: control messages and handshakes. As with `send`, the owner is released when the kernel has them. */
  sendCopy(bytes: Uint8Array, owner?: Releasable | null): void;
  /** Sends what is queued, then closes. */
  end(): void;
  /** Closes at once; queued bytes are dropped. */
  destroy(error?: Error): void;
}

export interface Listener {
  /** With the real port. */
  readonly address: Address;
  close(): Promise<void>;
}
