import { NodeMessages } from './node-messages.js';
import type { FileOp, Io } from './types.js';
import { UringIo } from './uring-io.js';
import { UringMessages } from './uring-messages.js';

/**
 * A device of whole messages, such as /dev/fuse: a read takes one message, a write gives one, neither is ever continued.
 * Results as those of files: bytes, or a negative errno.
 */
export interface MessageDevice {
  /** Waits for a message as long as it takes. Several may wait. */
  read(op: FileOp): void;
  write(op: FileOp): void;
  /** Reads that wait end with -ECANCELED; resolved when nothing is under way and the descriptor is closed. */
  close(): Promise<void>;
}

/** Takes the descriptor over. @param blocks it was opened without O_NONBLOCK */
export function openMessageDevice(io: Io, fd: number, blocks: boolean): MessageDevice {
  return io instanceof UringIo ? new UringMessages(io.ring, fd, blocks) : new NodeMessages(fd);
}
