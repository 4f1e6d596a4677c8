import { RawstorError } from '../common/errors.js';
import { ECONNRESET, EPIPE, errnoError } from './errno.js';

/** How a stream that broke is reported: one code for all the ways in which a peer disappears. */
export function streamError(errno: number, call: string, peer: string): RawstorError {
  const cause = errnoError(errno, call, peer);
  if (errno !== -EPIPE && errno !== -ECONNRESET) return cause;
  return new RawstorError('CONNECTION_LOST', 'the connection was closed by the other side', {
    where: peer,
    cause,
  });
}

export function stoodStill(peer: string): RawstorError {
  return new RawstorError(
    'TIMEOUT',
    'the other side stopped in the middle of a message, and memory is short',
    {
      where: peer,
    },
  );
}

export function cutShort(peer: string): RawstorError {
  const message = 'the connection was closed by the other side in the middle of a message';
  return new RawstorError('CONNECTION_LOST', message, { where: peer });
}
