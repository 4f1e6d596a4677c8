import type { Socket } from 'node:net';
import { MiB } from '../common/units.js';
import { streamError } from './connection-lost.js';
import { errnoOf } from './errno.js';
import { Phase, StreamBase, type StreamHost } from './stream-base.js';

const PIECES_MAX = 512;
const BYTES_MAX = MiB;
const DRAIN_MS = 2000;

/** A connected socket of Node's. What it received is copied into the pool, where frames are. */
export class NodeStream extends StreamBase {
  private readonly socket: Socket;
  /** Pieces at the head of the queue that were handed to the socket. */
  private handed = 0;
  private chunk: Buffer | null = null;
  private chunkAt = 0;
  private drainTimer: NodeJS.Timeout | null = null;

  constructor(host: StreamHost, socket: Socket, peer: string) {
    super(host, peer);
    this.socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (chunk) => this.onData(chunk));
    socket.pause();
    socket.on('end', () => {
      this.peerEnded = true;
      this.wake();
    });
    socket.on('error', (error) => this.destroy(streamError(errnoOf(error), 'socket', peer)));
    socket.on('close', () => {
      if (this.phase < Phase.CLOSING) this.destroy();
      if (this.drainTimer !== null) clearTimeout(this.drainTimer);
      this.finish();
    });
  }

  protected override pump(): void {
    switch (this.phase) {
      case Phase.OPEN:
        this.pumpSend();
        this.feed();
        if (this.peerEnded && this.chunk === null && this.phase === Phase.OPEN) this.peerEnd();
        break;
      case Phase.FLUSHING:
        this.pumpSend();
        if (this.queue.count === 0) this.ownEnd();
        break;
    }
  }

  protected override stopReceiving(): boolean {
    return true;
  }

  protected override abort(): void {
    this.socket.destroy();
  }

  private onData(chunk: Buffer): void {
    if (this.phase !== Phase.OPEN) return;
    this.chunk = this.chunk === null ? chunk : Buffer.concat([this.chunk.subarray(this.chunkAt), chunk]);
    this.chunkAt = 0;
    this.feed();
  }

  private feed(): void {
    const { receiver } = this;
    while (this.chunk !== null && receiver.wanting) {
      if (!receiver.plan()) {
        this.waitForPool();
        break;
      }
      const count = Math.min(receiver.targetBytes, this.chunk.length - this.chunkAt);
      const at = this.chunkAt;
      this.chunk.copy(receiver.pool.memory.bytes, receiver.targetOffset, at, at + count);
      this.chunkAt += count;
      if (this.chunkAt === this.chunk.length) this.chunk = null;
      this.received(count);
    }
    if (this.phase !== Phase.OPEN) return;
    if (this.chunk === null && receiver.wanting) {
      if (this.socket.isPaused()) this.socket.resume();
      if (this.peerEnded) this.wake();
    } else if (!this.socket.isPaused()) this.socket.pause();
  }

  private pumpSend(): void {
    if (this.handed > 0 || this.queue.count === 0) return;
    const { queue, socket } = this;
    let bytes = 0;
    socket.cork();
    while (this.handed < queue.count && this.handed < PIECES_MAX && bytes < BYTES_MAX) {
      const offset = queue.offset(this.handed);
      const length = queue.length(this.handed);
      socket.write(queue.memory(this.handed).bytes.subarray(offset, offset + length), this.onWritten);
      bytes += length;
      this.handed++;
    }
    socket.uncork();
  }

  private readonly onWritten = (error?: Error | null): void => {
    // After an error everything is released when the socket has closed and nobody reads the bytes any more.
    if (error || this.phase >= Phase.CLOSING) return;
    this.handed--;
    this.taken(this.queue.length(0));
    if (this.handed === 0) this.wake();
  };

  private ownEnd(): void {
    this.phase = Phase.DRAINING;
    this.chunk = null;
    this.socket.end();
    // The rest of what the peer sends is thrown away; at its end the socket closes.
    this.socket.resume();
    this.drainTimer = setTimeout(() => this.destroy(), DRAIN_MS);
  }
}
