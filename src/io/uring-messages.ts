import { loadNative } from '../native/index.js';
import { EAGAIN, ECANCELED, EINTR } from './errno.js';
import type { MessageDevice } from './message-device.js';
import type { Ring, RingUser } from './ring.js';
import { ALWAYS_ASYNC, CANCEL_ALL_OF_FD, POLLIN, RingOp } from './ring-abi.js';
import { fillTransfer, READING, WRITING } from './ring-transfer.js';
import type { FileOp } from './types.js';

const READ = 0;
const WRITE = 1;
const CANCEL = 2;
const POLL = 3;

/**
 * Of a blocking descriptor, never by the thread that submits: the kernel has it read what poll told is there, and where another read was
 * faster by then it sleeps there until the next message comes, the whole process with it.
 */
const READING_BLOCKED = {
  single: RingOp.READ | ALWAYS_ASYNC,
  gather: RingOp.READV | ALWAYS_ASYNC,
} as const;

/**
 * Messages through the ring. Of a descriptor that does not block, reads are tried in rounds: a few at once, one more than the round before
 * had messages for; when one finds nothing, the kernel is asked to tell of the next message. So no thread waits in the kernel, and none has
 * to be woken for a message.
 */
export class UringMessages implements MessageDevice, RingUser {
  private readonly ring: Ring;
  private readonly fd: number;
  private readonly blocks: boolean;
  private underWay = 0;
  private closing = false;
  private closed: (() => void) | null = null;
  /** Reads that are to be tried. */
  private waiting: FileOp[] = [];
  /** Reads of this round without an outcome, how many of it had a message, and whether one had none. */
  private trying = 0;
  private found = 0;
  private isDrained = true;
  private polling = false;

  constructor(ring: Ring, fd: number, blocks: boolean) {
    this.ring = ring;
    this.fd = fd;
    this.blocks = blocks;
  }

  read(op: FileOp): void {
    if (this.blocks) return this.queue(READ, op);
    this.waiting.push(op);
    this.goOn();
  }

  write(op: FileOp): void {
    this.queue(WRITE, op);
  }

  close(): Promise<void> {
    this.closing = true;
    for (const op of this.waiting.splice(0)) op.owner.fileDone(op, -ECANCELED);
    if (this.underWay > 0) this.queue(CANCEL, null);
    return new Promise((resolve) => {
      this.closed = () => {
        loadNative().closeFd(this.fd);
        resolve();
      };
      if (this.underWay === 0) this.closed();
    });
  }

  prepare(ring: Ring, kind: number, context: unknown): void {
    if (kind === CANCEL) return ring.fill(RingOp.ASYNC_CANCEL, this.fd, 0, 0, 0, CANCEL_ALL_OF_FD);
    if (kind === POLL) return ring.fill(RingOp.POLL_ADD, this.fd, 0, 0, 0, POLLIN);
    const op = context as FileOp;
    const reading = this.blocks ? READING_BLOCKED : READING;
    fillTransfer(ring, this.fd, op.slices, 0, 0, kind === READ ? reading : WRITING);
  }

  completed(kind: number, context: unknown, _progress: number, result: number): void {
    this.underWay--;
    if (kind === POLL) {
      this.polling = false;
      this.isDrained = false;
      this.goOn();
    } else if (kind !== CANCEL) {
      const op = context as FileOp;
      const again = (result === -EINTR || result === -EAGAIN) && !this.closing;
      if (kind === READ && !this.blocks) this.tried(op, result, again);
      else if (again) this.queue(kind, op);
      else op.owner.fileDone(op, result);
    }
    if (this.underWay === 0 && this.closed !== null) this.closed();
  }

  private tried(op: FileOp, result: number, again: boolean): void {
    this.trying--;
    if (again) {
      this.isDrained = result === -EAGAIN;
      this.waiting.push(op);
    } else {
      this.found++;
      op.owner.fileDone(op, result);
    }
    if (this.trying === 0) this.goOn();
  }

  /** The next round, or the wait for a message. */
  private goOn(): void {
    if (this.trying > 0 || this.polling || this.closing || this.waiting.length === 0) return;
    const burst = this.found + 1;
    this.found = 0;
    if (this.isDrained) {
      this.polling = true;
      return this.queue(POLL, null);
    }
    for (const op of this.waiting.splice(0, burst)) {
      this.trying++;
      this.queue(READ, op);
    }
  }

  private queue(kind: number, op: FileOp | null): void {
    this.underWay++;
    this.ring.queue(this, kind, op, 0);
  }
}
