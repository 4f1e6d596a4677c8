import { asRawstorError, RawstorError } from '../common/errors.js';
import { Errno } from './constants.js';

/** An answer that is nobody's fault: no such name, not permitted, and the like. */
export class Refusal extends Error {
  readonly errno: number;

  constructor(errno: number) {
    super(`errno ${errno}`);
    this.errno = errno;
  }
}

/** Longer than any volume with such chunks may be. */
export class FileTooLarge extends RawstorError {
  constructor(name: string, fileBytes: number, mostBytes: number) {
    super('LIMIT', `a file of ${fileBytes} bytes is too large`, {
      where: name,
      hint: `with this chunk size up to ${mostBytes} bytes: --chunk-size of the mount is that of new files`,
    });
  }
}

/** What programs expect of file systems, where block protocols say something else. */
const OF_CODE: Partial<Record<RawstorError['code'], number>> = {
  READ_ONLY: Errno.EROFS,
  FENCED: Errno.EIO,
  STALE_SESSION: Errno.EIO,
  PROTOCOL: Errno.EIO,
  VERSION: Errno.EIO,
  TIMEOUT: Errno.EIO,
  UNSATISFIABLE: Errno.ENOSPC,
  // As many volumes, or versions of one, as there may be.
  LIMIT: Errno.ENOSPC,
};

export function errnoOf(error: unknown): number {
  if (error instanceof Refusal) return error.errno;
  if (error instanceof RangeError) return Errno.EINVAL;
  if (error instanceof FileTooLarge) return Errno.EFBIG;
  const known = asRawstorError(error);
  return OF_CODE[known.code] ?? known.errno;
}
