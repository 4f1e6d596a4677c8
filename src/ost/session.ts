import { STATUS_STALE_SESSION } from '../protocol/index.js';
import type { OstObject } from './object.js';

/** Who holds sessions: a connection or a peer in this process. */
export interface SessionHolder {
  readonly sessions: Set<Session>;
  /** It has ended: nothing begins for it any more. */
  readonly gone: boolean;
  /** Tells it something it did not ask for; who cannot hear it does without. */
  notify?(name: string, params: unknown): void;
}

/** One attach of one client to one object (docs/consistency: session). */
export class Session {
  readonly handle: number;
  readonly object: OstObject;
  readonly epoch: number;
  readonly number: number;
  readonly readOnly: boolean;
  readonly holder: SessionHolder;
  /** Of a snapshot: the only one it reads; else 0. */
  readonly version: number;
  /** Wire status that its operations are answered with, 0 while it lives. */
  ended = 0;
  inFlight = 0;
  private drainWaiters: (() => void)[] = [];

  constructor(
    handle: number,
    object: OstObject,
    epoch: number,
    number: number,
    readOnly: boolean,
    holder: SessionHolder,
    version = 0,
  ) {
    this.handle = handle;
    this.object = object;
    this.epoch = epoch;
    this.number = number;
    this.readOnly = readOnly;
    this.holder = holder;
    this.version = version;
    holder.sessions.add(this);
  }

  end(status: number = STATUS_STALE_SESSION): void {
    if (this.ended === 0) this.ended = status;
    // Also when its connection has ended: what the kernel has of it can still be applied.
    if (this.inFlight > 0) this.object.draining.add(this);
    this.holder.sessions.delete(this);
    if (this.object.writer === this) this.object.writer = null;
    this.object.readers.delete(this);
  }

  /** An operation of it has been answered. */
  answered(): void {
    if (--this.inFlight > 0) return;
    if (this.ended !== 0) this.object.draining.delete(this);
    if (this.drainWaiters.length === 0) return;
    for (const resolve of this.drainWaiters.splice(0)) resolve();
  }

  /** Resolves when nothing of it is in flight, in the kernel neither. */
  drained(): Promise<void> {
    if (this.inFlight === 0) return Promise.resolve();
    return new Promise((resolve) => this.drainWaiters.push(resolve));
  }
}
