import { LIMITS } from '../common/limits.js';
import { KiB } from '../common/units.js';
import { cutShort, stoodStill } from './connection-lost.js';
import { FrameReceiver } from './frame-receiver.js';
import { heapMemory, type Memory, type Releasable } from './memory.js';
import { type BufferPool, LARGEST_BUFFER_BYTES } from './pool.js';
import { SendQueue } from './send-queue.js';
import type { Stallable } from './stalled-streams.js';
import type { BatchTask, FrameHandler, Stream } from './types.js';

const STAGE_BYTES = 64 * KiB;
/** With more pieces queued than this, copies wait outside of the pool. */
const COPIES_IN_POOL = 16;

/** What a stream needs of the Io it belongs to. */
export interface StreamHost {
  readonly pool: BufferPool;
  scheduleUnchecked(task: BatchTask): void;
  streamClosed(stream: StreamBase): void;
}

/** Life of a stream. In every state but OPEN nothing is parsed any more. */
export const Phase = {
  OPEN: 0,
  /** `end` was called or the peer has ended: what is queued still leaves. */
  FLUSHING: 1,
  /** Our side has ended; what the peer still sends is thrown away, so that it does not see a reset. */
  DRAINING: 2,
  /** Waits for the kernel to let go of our buffers. */
  CLOSING: 3,
  CLOSED: 4,
} as const;
export type Phase = (typeof Phase)[keyof typeof Phase];

/**
 * The half of a stream that both implementations share: framing, the send queue, and one pass a turn in
 * which everything happens (`runBatch`). Calls from outside only note what is wanted, so that a handler may
 * call anything from anywhere.
 */
export abstract class StreamBase implements Stream, BatchTask, Stallable {
  readonly peer: string;
  onClose: ((error: Error | null) => void) | null = null;
  onPeerEnd: (() => void) | null = null;
  onDrain: (() => void) | null = null;
  receivedBytes = 0;
  sentBytes = 0;
  protected readonly host: StreamHost;
  protected readonly queue = new SendQueue();
  protected readonly receiver: FrameReceiver;
  protected phase: Phase = Phase.OPEN;
  protected failure: Error | null = null;
  /** The peer has ended its side. */
  protected peerEnded = false;
  private peerEndTold = false;
  private overLimit = false;
  private scheduled = false;
  private waitsForPool = false;
  private parseWanted = false;

  constructor(host: StreamHost, peer: string) {
    this.host = host;
    this.peer = peer;
    this.receiver = new FrameReceiver(host.pool);
  }

  get closed(): boolean {
    return this.phase >= Phase.CLOSING;
  }

  get queuedBytes(): number {
    return this.queue.bytes;
  }

  get receivingBytes(): number {
    return this.receiver.heldBytes;
  }

  get arriving(): number {
    // Who waits for a buffer itself is not to blame for receiving nothing.
    const awaited = this.receiver.wanting && this.receiver.insideFrame && !this.waitsForPool;
    return awaited ? this.receivedBytes : -1;
  }

  get leaving(): number {
    return this.queue.count > 0 && !this.waitsForPool ? this.sentBytes : -1;
  }

  stalled(): void {
    this.destroy(stoodStill(this.peer));
  }

  shrink(): void {
    if (this.phase !== Phase.OPEN || this.receiver.insideFrame || !this.receiver.roomy) return;
    const idle = this.stopReceiving();
    this.receiver.shrink(idle);
    this.wake();
  }

  receive(handler: FrameHandler): void {
    this.receiver.setHandler(handler);
    this.wantParse();
  }

  pause(): void {
    this.receiver.paused = true;
  }

  resume(): void {
    if (!this.receiver.paused) return;
    this.receiver.paused = false;
    this.wantParse();
  }

  send(memory: Memory, offset: number, lengthBytes: number, owner: Releasable | null): void {
    if (this.phase !== Phase.OPEN || lengthBytes === 0) {
      if (owner !== null) owner.release();
      return;
    }
    this.queue.push(memory, offset, lengthBytes, owner);
    if (this.queue.bytes > LIMITS.connectionQueuedBytes) this.overLimit = true;
    this.wake();
  }

  sendCopy(bytes: Uint8Array, owner: Releasable | null = null): void {
    // A buffer holds much more than most copies: a peer that takes none of them must not fill the pool with them.
    const soon = this.queue.count < COPIES_IN_POOL && bytes.length <= LARGEST_BUFFER_BYTES;
    const buffer = soon ? this.host.pool.acquire(bytes.length) : null;
    if (buffer === null) {
      // Too long, or not now: staged through the pool when its turn comes.
      const copy = heapMemory(bytes.length);
      copy.bytes.set(bytes);
      this.send(copy, 0, bytes.length, owner);
      return;
    }
    buffer.memory.bytes.set(bytes, buffer.offset);
    const both = {
      release: () => {
        buffer.release();
        owner?.release();
      },
    };
    this.send(buffer.memory, buffer.offset, bytes.length, owner === null ? buffer : both);
  }

  end(): void {
    if (this.phase !== Phase.OPEN) return;
    this.phase = Phase.FLUSHING;
    this.receiver.stop();
    this.wake();
  }

  destroy(error?: Error): void {
    if (this.phase >= Phase.CLOSING) return;
    this.failure = error ?? null;
    this.phase = Phase.CLOSING;
    this.receiver.stop();
    this.abort();
    this.wake();
  }

  runBatch(): void {
    this.scheduled = false;
    if (this.parseWanted && this.phase === Phase.OPEN) {
      this.parseWanted = false;
      this.receiver.parse();
    }
    this.afterParse();
    this.pump();
  }

  /** Sends and receives what can be, or closes when nothing is under way any more. */
  protected abstract pump(): void;
  /** Takes memory back that the kernel may receive into, if it can. @returns whether it has none now */
  protected abstract stopReceiving(): boolean;
  /** Makes the kernel let go soon. */
  protected abstract abort(): void;

  protected wake(): void {
    if (this.scheduled || this.phase === Phase.CLOSED) return;
    this.scheduled = true;
    this.host.scheduleUnchecked(this);
  }

  /** The peer has ended: in the middle of a frame that is a loss; else answers may still leave. */
  protected peerEnd(): void {
    if (this.receiver.paused) return; // There may be whole frames that nobody has seen.
    const { onPeerEnd } = this;
    if (this.receiver.insideFrame) this.destroy(cutShort(this.peer));
    else if (onPeerEnd === null) this.end();
    else if (!this.peerEndTold) {
      this.peerEndTold = true;
      onPeerEnd();
    }
  }

  /** Bytes have come where the receiver wanted them. */
  protected received(lengthBytes: number): void {
    this.receivedBytes += lengthBytes;
    this.receiver.received(lengthBytes);
    this.afterParse();
  }

  private afterParse(): void {
    const { fault } = this.receiver;
    if (fault !== null && this.phase < Phase.CLOSING) this.destroy(fault);
  }

  /** Comes back when the pool has a buffer again. */
  protected waitForPool(): void {
    if (this.waitsForPool) return;
    this.waitsForPool = true;
    this.host.pool.whenFree(this.onPoolFree);
  }

  /** The kernel took bytes of the queue. */
  protected taken(lengthBytes: number): void {
    this.sentBytes += lengthBytes;
    this.queue.taken(lengthBytes);
    if (this.overLimit && this.queue.bytes <= LIMITS.connectionQueuedBytes / 2) {
      this.overLimit = false;
      if (this.phase === Phase.OPEN) this.onDrain?.();
    }
  }

  /**
   * Memory that the kernel cannot be shown by address is copied into the pool when it comes to the head of the
   * queue. False when the pool has no buffer now.
   */
  protected stageFirst(): boolean {
    const memory = this.queue.memory(0);
    if (memory.address !== 0) return true;
    const length = Math.min(this.queue.length(0), STAGE_BYTES);
    const buffer = this.host.pool.acquire(length) ?? this.host.pool.acquire(1);
    if (buffer === null) return false;
    const staged = Math.min(length, buffer.sizeBytes);
    const offset = this.queue.offset(0);
    memory.bytes.copy(buffer.memory.bytes, buffer.offset, offset, offset + staged);
    if (staged < this.queue.length(0)) this.queue.splitFirst(staged);
    this.queue.replaceFirst(buffer.memory, buffer.offset, buffer);
    return true;
  }

  /** Last act: everything is given back, then the owner is told. */
  protected finish(): void {
    if (this.phase === Phase.CLOSED) return;
    this.phase = Phase.CLOSED;
    this.receiver.dispose();
    this.queue.clear();
    this.host.streamClosed(this);
    const { onClose } = this;
    this.onClose = null;
    this.onPeerEnd = null;
    this.onDrain = null;
    onClose?.(this.failure);
  }

  private wantParse(): void {
    this.parseWanted = true;
    this.wake();
  }

  private readonly onPoolFree = (): void => {
    this.waitsForPool = false;
    this.wake();
  };
}
