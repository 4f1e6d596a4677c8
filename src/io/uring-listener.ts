import { loadNative } from '../native/index.js';
import { ECANCELED, EINVAL } from './errno.js';
import { type Listening, stopListening } from './listen.js';
import type { Ring, RingUser } from './ring.js';
import { CANCEL_ALL_OF_FD, RingOp, SOCK_CLOEXEC } from './ring-abi.js';
import type { Listener } from './types.js';

const ACCEPT = 0;
const CANCEL = 1;
const SHUT_RDWR = 2;
/** One that has gone again while it waited is no reason for a pause. */
const ECONNABORTED = 103;
/** Out of descriptors or memory, or forbidden: it would be so again at once, and again. */
const EXHAUSTED_MS = 100;

/** A listening socket with one accept on the ring. */
export class UringListener implements Listener, RingUser {
  readonly address: string;
  private readonly ring: Ring;
  private readonly listening: Listening;
  private readonly onAccept: (fd: number) => void;
  private readonly onClosed: (listener: UringListener) => void;
  private operations = 0;
  private closing = false;
  private retry: NodeJS.Timeout | null = null;
  private whenClosed: (() => void) | null = null;

  constructor(
    ring: Ring,
    listening: Listening,
    onAccept: (fd: number) => void,
    onClosed: (listener: UringListener) => void,
  ) {
    this.ring = ring;
    this.listening = listening;
    this.address = listening.address;
    this.onAccept = onAccept;
    this.onClosed = onClosed;
    this.start(ACCEPT);
  }

  prepare(ring: Ring, kind: number): void {
    if (kind === ACCEPT) ring.fill(RingOp.ACCEPT, this.listening.fd, 0, 0, 0, SOCK_CLOEXEC);
    else ring.fill(RingOp.ASYNC_CANCEL, this.listening.fd, 0, 0, 0, CANCEL_ALL_OF_FD);
  }

  completed(kind: number, _context: unknown, _progress: number, result: number): void {
    this.operations--;
    if (kind === CANCEL) {
      // A kernel that cannot cancel by descriptor ends the accept when the socket is shut down.
      if (result < 0 && this.operations > 0) loadNative().socketShutdown(this.listening.fd, SHUT_RDWR);
    } else if (result >= 0) {
      if (this.closing) loadNative().closeFd(result);
      else {
        this.start(ACCEPT);
        this.onAccept(result);
      }
    } else if (!this.closing && result !== -ECANCELED && result !== -EINVAL) {
      if (result === -ECONNABORTED) this.start(ACCEPT);
      else this.retry = setTimeout(() => this.start(ACCEPT), EXHAUSTED_MS);
    }
    if (this.closing && this.operations === 0) this.closed();
  }

  close(): Promise<void> {
    return new Promise((resolve) => {
      const before = this.whenClosed;
      this.whenClosed = () => {
        before?.();
        resolve();
      };
      if (this.closing) {
        if (this.operations === 0) this.closed();
        return;
      }
      this.closing = true;
      if (this.retry !== null) clearTimeout(this.retry);
      if (this.operations > 0) this.start(CANCEL);
      else this.closed();
    });
  }

  private start(kind: number): void {
    this.operations++;
    this.ring.queue(this, kind, null, 0);
  }

  private closed(): void {
    stopListening(this.listening);
    this.onClosed(this);
    this.whenClosed?.();
    this.whenClosed = null;
  }
}
