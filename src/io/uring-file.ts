import { EAGAIN, EINTR, EIO } from './errno.js';
import { FileBase } from './file-base.js';
import type { Ring, RingUser } from './ring.js';
import * as abi from './ring-abi.js';
import { RingOp } from './ring-abi.js';
import { fillTransfer, READING, TRANSFER_MAX_BYTES, WRITING } from './ring-transfer.js';
import type { FileOp } from './types.js';
import type { WriteBatch } from './write-batch.js';

const READ = 0;
const WRITE = 1;
const SYNC = 2;
const PUNCH = 3;
const WRITEBACK = 4;

const SECTOR_BYTES = 512;

/** A file on the ring, its buffered writes in the batch. `progress` of an operation is what it has done so far. */
export class UringFile extends FileBase implements RingUser {
  private readonly ring: Ring;
  private readonly writes: WriteBatch;
  private readonly direct: boolean;

  constructor(
    ring: Ring,
    writes: WriteBatch,
    fd: number,
    path: string,
    direct: boolean,
    onClosed: (file: FileBase) => void,
  ) {
    super(fd, path, onClosed);
    this.ring = ring;
    this.writes = writes;
    this.direct = direct;
  }

  read(op: FileOp): void {
    this.ring.queue(this, READ, op, 0);
  }

  write(op: FileOp): void {
    if (this.direct) {
      this.ring.queue(this, WRITE, op, 0);
    } else {
      this.writes.add(this.fd, op);
      this.ring.arrange();
    }
  }

  sync(op: FileOp): void {
    this.ring.queue(this, SYNC, op, 0);
  }

  punch(op: FileOp): void {
    this.ring.queue(this, PUNCH, op, 0);
  }

  writeback(op: FileOp): void {
    this.ring.queue(this, WRITEBACK, op, 0);
  }

  prepare(ring: Ring, kind: number, context: unknown, progress: number): void {
    const op = context as FileOp;
    switch (kind) {
      case READ:
        fillTransfer(ring, this.fd, op.slices, op.fileOffset, progress, READING);
        break;
      case WRITE:
        fillTransfer(ring, this.fd, op.slices, op.fileOffset, progress, WRITING);
        break;
      case SYNC:
        ring.fill(RingOp.FSYNC, this.fd, 0, 0, 0, abi.FSYNC_DATASYNC);
        break;
      case PUNCH: {
        // The length of the range stands in the address field, its mode in the length field.
        const mode = abi.FALLOC_PUNCH_HOLE | abi.FALLOC_KEEP_SIZE;
        ring.fill(
          op.lengthBytes > 0 ? RingOp.FALLOCATE : RingOp.NOP,
          this.fd,
          op.fileOffset,
          op.lengthBytes,
          mode,
          0,
        );
        break;
      }
      default: {
        const left = Math.min(op.lengthBytes - progress, TRANSFER_MAX_BYTES);
        const code = left > 0 ? RingOp.SYNC_FILE_RANGE : RingOp.NOP;
        ring.fill(code, this.fd, op.fileOffset + progress, 0, left, abi.SYNC_RANGE_WRITE);
      }
    }
  }

  completed(kind: number, context: unknown, progress: number, result: number): void {
    const op = context as FileOp;
    if (result === -EINTR || result === -EAGAIN) {
      this.ring.queue(this, kind, op, progress);
    } else if (kind === READ || kind === WRITE) {
      this.transferred(kind, op, progress, result);
    } else if (kind === WRITEBACK && result >= 0 && op.lengthBytes - progress > TRANSFER_MAX_BYTES) {
      this.ring.queue(this, kind, op, progress + TRANSFER_MAX_BYTES);
    } else {
      op.owner.fileDone(op, result);
    }
  }

  private transferred(kind: number, op: FileOp, progress: number, result: number): void {
    const total = op.slices.lengthBytes;
    const done = progress + result;
    if (result < 0 || done === total) op.owner.fileDone(op, result < 0 ? result : done);
    else if (result === 0) op.owner.fileDone(op, kind === READ ? done : -EIO);
    // Past an odd count a direct read cannot go on, and need not: it is the end of the file.
    else if (this.direct && kind === READ && result % SECTOR_BYTES !== 0) op.owner.fileDone(op, done);
    else this.ring.queue(this, kind, op, done);
  }
}
