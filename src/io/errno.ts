import { getSystemErrorName } from 'node:util';
import { asRawstorError, type RawstorError } from '../common/errors.js';

/** Errnos that the data path itself looks at. */
export const ENOENT = 2;
export const EINTR = 4;
export const EIO = 5;
export const ENXIO = 6;
export const EAGAIN = 11;
export const EBUSY = 16;
export const EINVAL = 22;
export const ENFILE = 23;
export const EMFILE = 24;
export const EPIPE = 32;
export const ENAMETOOLONG = 36;
export const ENOBUFS = 105;
export const EADDRINUSE = 98;
export const ECONNRESET = 104;
export const ECANCELED = 125;

const ENODATA = 61;
const EBADMSG = 74;
const EILSEQ = 84;

/** Of a negative errno: what kernels answer for a place of a disk that cannot be read: past the page cache a medium error is ENODATA, a failed protection check EILSEQ. */
export function isMediumError(errno: number): boolean {
  return errno === -EIO || errno === -ENODATA || errno === -EBADMSG || errno === -EILSEQ;
}

/** `-28` -> `ENOSPC`. */
export function errnoName(errno: number): string {
  try {
    return getSystemErrorName(-Math.abs(errno));
  } catch {
    return `errno ${Math.abs(errno)}`;
  }
}

/** A negative errno of a system call as the error that users see. */
export function errnoError(errno: number, call: string, where: string): RawstorError {
  const code = errnoName(errno);
  return asRawstorError(Object.assign(new Error(`${call}: ${code}`), { code, syscall: call, errno }), where);
}

/** The negative errno of an error from Node's fs; -EIO when it has none. */
export function errnoOf(error: NodeJS.ErrnoException): number {
  return typeof error.errno === 'number' && error.errno < 0 ? error.errno : -EIO;
}
