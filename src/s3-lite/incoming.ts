import type { IncomingMessage } from 'node:http';
import type { S3Error } from './errors.js';

/** The body of a request while it comes; it can be ended by what becomes of the request elsewhere. */
export class IncomingBody {
  private readonly http: IncomingMessage;
  private ended: S3Error | null = null;
  /** Ends what waits for the client. */
  private giveUp: (error: S3Error) => void = () => {};

  constructor(http: IncomingMessage) {
    this.http = http;
  }

  /** Nothing more is wanted of it, whatever comes: whoever reads it is told why. */
  end(error: S3Error): void {
    this.ended ??= error;
    this.giveUp(this.ended);
  }

  /** Once. @throws S3Error that it was ended with */
  async *bytes(): AsyncGenerator<Buffer, undefined> {
    // What fails before its end is told to the client, over a connection that is still there.
    const source: AsyncIterator<Buffer> = this.http.iterator({ destroyOnReturn: false });
    try {
      for (;;) {
        const { done, value } = await this.waitFor(source.next());
        if (done) return;
        yield value;
      }
    } finally {
      // Not waited for: it comes behind what the client has not sent.
      source.return?.().catch(() => {});
    }
  }

  private waitFor<T>(next: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.giveUp = reject;
      next.then(resolve, reject);
      if (this.ended !== null) reject(this.ended);
    });
  }
}
