import { type Span, TRACE, TraceKind, TraceSite } from '../common/trace.js';
import type { BatchTask, Io } from '../io/types.js';

/** Of files and directories, however many wait for it. */
const TRACED = new TraceSite('ost', ['sync']);

/** Someone who waits until what is dirty now is durable. */
export interface SyncWaiter {
  /** `errno` is 0 or a negative errno. */
  syncDone(errno: number): void;
}

/**
 * Coalesced durability of one thing (a file, a directory): who asks while a sync runs and something became
 * dirty after it began waits for the next one; all who wait share it.
 */
export abstract class SyncPoint implements BatchTask {
  /** Changed since the last sync began. */
  dirty = false;
  running = false;
  private current: SyncWaiter[] = [];
  private next: SyncWaiter[] = [];
  private scheduled = false;
  private span: Span | null = null;
  private readonly io: Pick<Io, 'schedule'>;

  constructor(io: Pick<Io, 'schedule'>) {
    this.io = io;
  }

  /** Nothing is dirty and nothing is under way. */
  get idle(): boolean {
    return !this.dirty && !this.running && this.next.length === 0;
  }

  /** Never answers from within. */
  add(waiter: SyncWaiter): void {
    if (this.running && !this.dirty && this.next.length === 0) {
      // What the waiter needs was dirty before the running sync began.
      this.current.push(waiter);
      return;
    }
    this.next.push(waiter);
    this.arrange();
  }

  /** Resolves when what is dirty now is durable; false when it is not. */
  async synced(): Promise<boolean> {
    if (this.idle) return true;
    return (await new Promise<number>((resolve) => this.add({ syncDone: resolve }))) === 0;
  }

  runBatch(): void {
    this.scheduled = false;
    if (this.running) return;
    const waiters = this.next;
    this.next = this.current;
    this.current = waiters;
    this.running = true;
    if (this.dirty) {
      this.dirty = false;
      this.span = TRACE.on ? TRACED.begin(TraceKind.FLUSH) : null;
      this.start();
    } else {
      this.finished(0);
    }
  }

  /** Begins the sync; `finished` follows, not from within. */
  protected abstract start(): void;

  /** To be called once for each `start`. */
  protected finished(errno: number): void {
    this.running = false;
    this.span?.end();
    this.span = null;
    const waiters = this.current;
    for (let i = 0; i < waiters.length; i++) waiters[i]!.syncDone(errno);
    waiters.length = 0;
    if (this.next.length > 0) this.arrange();
  }

  private arrange(): void {
    if (this.scheduled || this.running) return;
    this.scheduled = true;
    this.io.schedule(this);
  }
}
