import { MiB } from '../common/units.js';
import { loadNative } from '../native/index.js';
import { streamError } from './connection-lost.js';
import { EAGAIN, ECANCELED, EINTR, ENOBUFS, EPIPE } from './errno.js';
import type { Ring, RingUser } from './ring.js';
import { CANCEL_ALL_OF_FD, IOVECS_MAX, MSG_NOSIGNAL, MSG_WAITALL, RingOp } from './ring-abi.js';
import { Phase, StreamBase, type StreamHost } from './stream-base.js';

const RECEIVE = 0;
const SEND = 1;
const CANCEL = 2;
const SHUT_WR = 1;
const SHUT_RDWR = 2;
const GATHER_PIECES_MAX = 512;
/** One gather; the owners of its pieces are released together. */
const GATHER_BYTES_MAX = MiB;
/** How long a peer may take to end its side after we ended ours. */
const DRAIN_MS = 2000;

/** A connected socket on the ring: at most one receive and one send under way. */
export class UringStream extends StreamBase implements RingUser {
  private readonly ring: Ring;
  private readonly fd: number;
  private receiving = false;
  private sending = false;
  private cancelling = false;
  private drainTimer: NodeJS.Timeout | null = null;

  constructor(host: StreamHost, ring: Ring, fd: number, peer: string) {
    super(host, peer);
    this.ring = ring;
    this.fd = fd;
  }

  prepare(ring: Ring, kind: number): void {
    if (kind === RECEIVE) {
      const { receiver } = this;
      const address = receiver.pool.memory.address + receiver.targetOffset;
      ring.fill(
        RingOp.RECV,
        this.fd,
        0,
        address,
        receiver.targetBytes,
        receiver.targetWhole ? MSG_WAITALL : 0,
      );
    } else if (kind === SEND) {
      this.prepareSend(ring);
    } else {
      ring.fill(RingOp.ASYNC_CANCEL, this.fd, 0, 0, 0, CANCEL_ALL_OF_FD);
    }
  }

  completed(kind: number, _context: unknown, _progress: number, result: number): void {
    if (kind === RECEIVE) this.receiveDone(result);
    else if (kind === SEND) this.sendDone(result);
    else {
      this.cancelling = false;
      this.wake();
    }
  }

  protected override pump(): void {
    switch (this.phase) {
      case Phase.OPEN:
        this.pumpSend();
        this.pumpReceive();
        if (this.peerEnded && !this.receiving && this.phase === Phase.OPEN) this.peerEnd();
        break;
      case Phase.FLUSHING:
        this.pumpSend();
        if (this.queue.count === 0 && !this.sending) this.ownEnd();
        break;
      case Phase.DRAINING:
        this.pumpReceive();
        break;
      case Phase.CLOSING:
        if (!this.receiving && !this.sending && !this.cancelling) this.release();
        break;
    }
  }

  protected override stopReceiving(): boolean {
    if (!this.receiving) return true;
    // A receive that is cancelled begins anew, with a small buffer.
    if (!this.sending && !this.cancelling) {
      this.cancelling = true;
      this.ring.queue(this, CANCEL, null, 0);
    }
    return false;
  }

  protected override abort(): void {
    // Wakes a receive and a send that wait in the kernel; closing would not.
    if (this.receiving || this.sending) loadNative().socketShutdown(this.fd, SHUT_RDWR);
  }

  private pumpReceive(): void {
    if (this.receiving || this.cancelling || this.peerEnded) return;
    const draining = this.phase === Phase.DRAINING;
    if (!draining && !this.receiver.wanting) return;
    if (!(draining ? this.receiver.planDiscard() : this.receiver.plan())) {
      if (draining) this.destroy();
      else this.waitForPool();
      return;
    }
    this.receiving = true;
    this.ring.queue(this, RECEIVE, null, 0);
  }

  private pumpSend(): void {
    // Everything of the descriptor is cancelled: what begins meanwhile would be too.
    if (this.sending || this.cancelling || this.queue.count === 0) return;
    if (!this.stageFirst()) {
      this.waitForPool();
      return;
    }
    this.sending = true;
    this.ring.queue(this, SEND, null, 0);
  }

  private prepareSend(ring: Ring): void {
    const { queue } = this;
    const pieces = Math.min(queue.count, GATHER_PIECES_MAX, IOVECS_MAX);
    const first = queue.memory(0);
    if (pieces === 1) {
      const address = first.address + queue.offset(0);
      ring.fill(RingOp.SEND, this.fd, 0, address, queue.length(0), MSG_NOSIGNAL | MSG_WAITALL);
      return;
    }
    const { scratch } = ring;
    const iovecs = scratch.reserveIovecs(pieces);
    let bytes = 0;
    let used = 0;
    while (used < pieces && bytes < GATHER_BYTES_MAX) {
      const memory = queue.memory(used);
      if (memory.address === 0) break;
      const length = queue.length(used);
      scratch.setIovec(iovecs, used, memory.address + queue.offset(used), length);
      bytes += length;
      used++;
    }
    const message = scratch.message(iovecs, used);
    ring.fill(RingOp.SENDMSG, this.fd, 0, message, 1, MSG_NOSIGNAL | MSG_WAITALL);
  }

  private receiveDone(result: number): void {
    this.receiving = false;
    if (this.phase >= Phase.CLOSING) {
      this.wake();
      return;
    }
    if (result > 0) {
      if (this.phase === Phase.OPEN) this.received(result);
    } else if (result === 0) {
      this.peerEnded = true;
      if (this.phase === Phase.DRAINING) this.destroy();
    } else if (result !== -EAGAIN && result !== -EINTR && result !== -ECANCELED && result !== -ENOBUFS) {
      this.fail(result, 'recv');
    }
    this.wake();
  }

  private sendDone(result: number): void {
    this.sending = false;
    if (result > 0) this.taken(result);
    else if (this.phase < Phase.CLOSING && result !== -EAGAIN && result !== -EINTR && result !== -ECANCELED) {
      this.fail(result === 0 ? -EPIPE : result, 'send');
    }
    this.wake();
  }

  private fail(errno: number, call: string): void {
    if (this.phase === Phase.DRAINING) this.destroy();
    else this.destroy(streamError(errno, call, this.peer));
  }

  private ownEnd(): void {
    if (this.peerEnded) {
      this.destroy();
      return;
    }
    this.phase = Phase.DRAINING;
    loadNative().socketShutdown(this.fd, SHUT_WR);
    this.drainTimer = setTimeout(() => this.destroy(), DRAIN_MS);
    this.pumpReceive();
  }

  private release(): void {
    if (this.phase === Phase.CLOSED) return;
    if (this.drainTimer !== null) clearTimeout(this.drainTimer);
    loadNative().closeFd(this.fd);
    this.finish();
  }
}
