import { loadNative } from '../native/index.js';
import { EAGAIN, EINTR } from './errno.js';
import type { MessageDevice } from './message-device.js';
import type { Ring, RingUser } from './ring.js';
import { ALWAYS_ASYNC, CANCEL_ALL_OF_FD, RingOp } from './ring-abi.js';
import { fillTransfer, WRITING } from './ring-transfer.js';
import type { FileOp } from './types.js';

const READ = 0;
const WRITE = 1;
const CANCEL = 2;

/**
 * Never by the thread that submits: the kernel has it read what poll told is there, and where another read was faster by then it sleeps
 * there until the next message comes, the whole process with it.
 */
const READING = { single: RingOp.READ | ALWAYS_ASYNC, gather: RingOp.READV | ALWAYS_ASYNC } as const;

/** Messages through the ring. The descriptor is blocking: then the kernel polls it for a read that finds nothing. */
export class UringMessages implements MessageDevice, RingUser {
  private readonly ring: Ring;
  private readonly fd: number;
  private underWay = 0;
  private closing = false;
  private closed: (() => void) | null = null;

  constructor(ring: Ring, fd: number) {
    this.ring = ring;
    this.fd = fd;
  }

  read(op: FileOp): void {
    this.queue(READ, op);
  }

  write(op: FileOp): void {
    this.queue(WRITE, op);
  }

  close(): Promise<void> {
    this.closing = true;
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
    const op = context as FileOp;
    fillTransfer(ring, this.fd, op.slices, 0, 0, kind === READ ? READING : WRITING);
  }

  completed(kind: number, context: unknown, _progress: number, result: number): void {
    this.underWay--;
    const again = (result === -EINTR || result === -EAGAIN) && !this.closing;
    if (again && kind !== CANCEL) this.queue(kind, context as FileOp);
    else if (kind !== CANCEL) {
      const op = context as FileOp;
      op.owner.fileDone(op, result);
    }
    if (this.underWay === 0 && this.closed !== null) this.closed();
  }

  private queue(kind: number, op: FileOp | null): void {
    this.underWay++;
    this.ring.queue(this, kind, op, 0);
  }
}
