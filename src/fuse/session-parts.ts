import type { Clock } from '../common/clock.js';
import type { RawstorError } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import type { Io, MessageDevice } from '../io/index.js';
import type { OpenFile } from './open-file.js';
import type { RequestHeader } from './requests.js';

/** What the session is asked that is not about data. */
export interface Handlers {
  /** Null where there is no such handle. */
  file(handle: number): OpenFile | null;
  forget(nodeId: number, lookups: number): void;
  /**
   * Decodes the request at once and resolves with the body of the answer, null where there is none. @throws Refusal, RangeError,
   * RawstorError
   */
  call(header: RequestHeader, body: Buffer): Promise<Buffer | null>;
  /** The answer came too late: what it gave out, nobody will give back. */
  discarded(header: RequestHeader, answer: Buffer): void;
}

export interface SessionParts {
  readonly io: Io;
  readonly clock: Clock;
  readonly log: Logger;
  readonly device: MessageDevice;
  readonly handlers: Handlers;
  /** The file system is not mounted any more, or (an error) the kernel cannot be talked to. */
  readonly onEnd: (error: RawstorError | null) => void;
  /** For tests. */
  readonly isKilled?: (pid: number) => boolean;
}
