import type { Clock } from '../common/clock.js';
import { S3Error } from './errors.js';
import type { ObjectRow } from './rows.js';
import { noSuchUpload } from './uploads.js';

/** What a completion is answered with. */
export type Completed = Pick<ObjectRow, 'etag' | 'checksum'>;

interface Running {
  readonly asked: string;
  readonly control: AbortController;
  readonly done: Promise<Completed>;
}

/** A copy looks so often whether its upload is still there: it may be aborted through another gateway. */
const LOOK_MS = 15_000;

/**
 * Completions under way here, by upload. One may have to copy the whole content: who asks for the same again, because no answer came in
 * time, waits for that one instead of copying beside it. It goes on when its client has gone, as that one will ask again.
 */
export class Completions {
  private readonly clock: Clock;
  private readonly running = new Map<string, Running>();

  constructor(clock: Clock) {
    this.clock = clock;
  }

  /**
   * @param asked with what: other parts or conditions are another completion, which waits for this one's end
   * @param isThere whether the upload is
   */
  async run(
    id: string,
    asked: string,
    isThere: () => Promise<boolean>,
    work: (control: AbortController) => Promise<Completed>,
  ): Promise<Completed> {
    for (let other = this.running.get(id); other !== undefined; other = this.running.get(id)) {
      if (other.asked === asked) return other.done;
      await other.done.catch(() => {});
    }
    const control = new AbortController();
    const timer = this.clock.every(LOOK_MS, () => {
      // What cannot be known now is asked again later.
      isThere().then(
        (there) => there || control.abort(noSuchUpload(id)),
        () => {},
      );
    });
    const done = work(control).finally(() => {
      timer.cancel();
      this.running.delete(id);
    });
    this.running.set(id, { asked, control, done });
    return done;
  }

  /** Ends all of them. */
  async close(): Promise<void> {
    const all = [...this.running.values()];
    const ends = new S3Error('ServiceUnavailable', 'The server is being stopped. Try again.');
    for (const { control } of all) control.abort(ends);
    await Promise.allSettled(all.map(({ done }) => done));
  }
}
