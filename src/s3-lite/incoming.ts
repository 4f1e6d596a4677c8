import type { IncomingMessage } from 'node:http';
import type { Clock, Timer } from '../common/clock.js';
import { S3Error } from './errors.js';

/** How fast a body has to come. */
export interface BodyPace {
  readonly bytesPerSecond: number;
  /** What it is averaged over: only time that is spent waiting for the client counts. */
  readonly windowMs: number;
}

/** The body of a request while it comes; it is ended when it comes too slowly, or by what becomes of the request elsewhere. */
export class IncomingBody {
  private readonly http: IncomingMessage;
  private readonly clock: Clock;
  private readonly pace: BodyPace;
  private ended: S3Error | null = null;
  /** Ends what waits for the client. */
  private giveUp: (error: S3Error) => void = () => {};
  /** Of the window that runs. */
  private waitedMs = 0;
  private bytes = 0;

  constructor(http: IncomingMessage, clock: Clock, pace: BodyPace) {
    this.http = http;
    this.clock = clock;
    this.pace = pace;
  }

  /** Nothing more is wanted of it, whatever comes: whoever reads it is told why. */
  end(error: S3Error): void {
    this.ended ??= error;
    this.giveUp(this.ended);
  }

  /** Once. @throws S3Error RequestTimeout, or what it was ended with */
  async *pieces(): AsyncGenerator<Buffer, undefined> {
    // What fails before its end is told to the client, over a connection that is still there.
    const source: AsyncIterator<Buffer> = this.http.iterator({ destroyOnReturn: false });
    try {
      for (;;) {
        const { done, value } = await this.waitFor(source.next());
        if (done) return;
        this.bytes += value.length;
        this.judge();
        yield value;
      }
    } finally {
      // Not waited for: it comes behind what the client has not sent.
      source.return?.().catch(() => {});
    }
  }

  private async waitFor<T>(next: Promise<T>): Promise<T> {
    for (;;) {
      const sinceMs = this.clock.nowMs();
      const come = await this.within(next, Math.max(1, this.pace.windowMs - this.waitedMs));
      this.waitedMs += this.clock.nowMs() - sinceMs;
      if (come !== null) return come.value;
      this.judge();
    }
  }

  /** @returns null where it does not come in that time */
  private within<T>(next: Promise<T>, timeoutMs: number): Promise<{ value: T } | null> {
    let timer: Timer | undefined;
    const come = new Promise<{ value: T } | null>((resolve, reject) => {
      this.giveUp = reject;
      next.then((value) => resolve({ value }), reject);
      if (this.ended !== null) reject(this.ended);
      timer = this.clock.after(timeoutMs, () => {
        // What has come while this process was busy is seen first.
        timer = this.clock.after(0, () => resolve(null));
      });
    });
    return come.finally(() => timer?.cancel());
  }

  /** At the end of a window. */
  private judge(): void {
    const { bytesPerSecond, windowMs } = this.pace;
    if (this.waitedMs < windowMs) return;
    const slow = this.bytes < (bytesPerSecond * windowMs) / 1000;
    this.waitedMs = 0;
    this.bytes = 0;
    if (!slow) return;
    this.end(
      new S3Error(
        'RequestTimeout',
        'Your socket connection to the server was not read from or written to within the timeout period. Idle connections will be closed.',
      ),
    );
  }
}
