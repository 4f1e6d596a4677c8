import type { ErrorCode, RawstorError } from '../common/errors.js';
import {
  CHUNK_HEADER_BYTES,
  ChunkFlag,
  ChunkType,
  Command,
  CommandFlag,
  DATA_CHUNK_BYTES,
  Errno,
  EXTENT_BYTES,
  NBD_LIMITS,
  REQUEST_MAGIC,
  SIMPLE_REPLY_BYTES,
  SIMPLE_REPLY_MAGIC,
  STRUCTURED_REPLY_MAGIC,
} from './constants.js';
import type { MetaContext, StatusRun } from './contexts.js';

/** Codecs of the transmission phase: pure, over a view of the memory that I/O is done in. */

const TWO32 = 4294967296;

/** "Request message": u32 magic, u16 flags, u16 type, u64 cookie, u64 offset, u32 length. */
export class RequestHeader {
  flags = 0;
  command = 0;
  /** The client's mark, answered as it came. */
  cookieHigh = 0;
  cookieLow = 0;
  /** Beyond 2^53 it is inexact, which is far outside of any export all the same. */
  offset = 0;
  length = 0;
}

/** @returns false when the magic is wrong: the stream has lost its place and must be dropped */
export function decodeRequest(view: DataView, at: number, into: RequestHeader): boolean {
  if (view.getUint32(at) !== REQUEST_MAGIC) return false;
  into.flags = view.getUint16(at + 4);
  into.command = view.getUint16(at + 6);
  into.cookieHigh = view.getUint32(at + 8);
  into.cookieLow = view.getUint32(at + 12);
  into.offset = view.getUint32(at + 16) * TWO32 + view.getUint32(at + 20);
  into.length = view.getUint32(at + 24);
  return true;
}

export interface Cookie {
  readonly cookieHigh: number;
  readonly cookieLow: number;
}

/** "Simple reply message": u32 magic, u32 error, u64 cookie. */
export function encodeSimpleReply(view: DataView, at: number, cookie: Cookie, errno: number): number {
  view.setUint32(at, SIMPLE_REPLY_MAGIC);
  view.setUint32(at + 4, errno);
  view.setUint32(at + 8, cookie.cookieHigh);
  view.setUint32(at + 12, cookie.cookieLow);
  return SIMPLE_REPLY_BYTES;
}

/** "Structured reply chunk message": u32 magic, u16 flags, u16 type, u64 cookie, u32 length. */
export function encodeChunkHeader(
  view: DataView,
  at: number,
  cookie: Cookie,
  flags: number,
  type: number,
  lengthBytes: number,
): number {
  view.setUint32(at, STRUCTURED_REPLY_MAGIC);
  view.setUint16(at + 4, flags);
  view.setUint16(at + 6, type);
  view.setUint32(at + 8, cookie.cookieHigh);
  view.setUint32(at + 12, cookie.cookieLow);
  view.setUint32(at + 16, lengthBytes);
  return CHUNK_HEADER_BYTES;
}

/** Header of an OFFSET_DATA chunk; `lengthBytes` of data follow. */
export function encodeDataChunk(
  view: DataView,
  at: number,
  cookie: Cookie,
  flags: number,
  offset: number,
  lengthBytes: number,
): number {
  encodeChunkHeader(view, at, cookie, flags, ChunkType.OFFSET_DATA, 8 + lengthBytes);
  view.setUint32(at + 20, Math.floor(offset / TWO32));
  view.setUint32(at + 24, offset >>> 0);
  return DATA_CHUNK_BYTES;
}

/** A whole ERROR chunk, the last of its reply: u32 error, u16 length, message. Cold: it allocates. */
export function errorChunk(cookie: Cookie, errno: number, message: string): Buffer {
  const text = cutText(message, NBD_LIMITS.messageBytes);
  const bytes = Buffer.alloc(CHUNK_HEADER_BYTES + 6 + text.length);
  encodeChunkHeader(viewOf(bytes), 0, cookie, ChunkFlag.DONE, ChunkType.ERROR, 6 + text.length);
  bytes.writeUInt32BE(errno, CHUNK_HEADER_BYTES);
  bytes.writeUInt16BE(text.length, CHUNK_HEADER_BYTES + 4);
  text.copy(bytes, CHUNK_HEADER_BYTES + 6);
  return bytes;
}

/**
 * A whole BLOCK_STATUS chunk: u32 context, then u32 length and u32 flags for each run. Neighbours of the same
 * kind become one; the runs never reach past `length`, and are `runsMax` at most. Cold: it allocates.
 */
export function blockStatusChunk(
  cookie: Cookie,
  context: Pick<MetaContext, 'id' | 'unknownFlags'>,
  told: readonly StatusRun[],
  length: number,
  { runsMax, flags }: { readonly runsMax: number; readonly flags: number },
): Buffer {
  const runs: StatusRun[] = [];
  let left = length;
  for (const run of told) {
    const lengthBytes = Math.min(run.lengthBytes, left);
    if (lengthBytes <= 0) break;
    const last = runs.at(-1);
    if (last !== undefined && last.flags === run.flags) last.lengthBytes += lengthBytes;
    else if (runs.length >= runsMax) break;
    else runs.push({ lengthBytes, flags: run.flags });
    left -= lengthBytes;
  }
  if (runs.length === 0) runs.push({ lengthBytes: length, flags: context.unknownFlags });
  const payloadBytes = 4 + runs.length * EXTENT_BYTES;
  const bytes = Buffer.alloc(CHUNK_HEADER_BYTES + payloadBytes);
  encodeChunkHeader(viewOf(bytes), 0, cookie, flags, ChunkType.BLOCK_STATUS, payloadBytes);
  let at = bytes.writeUInt32BE(context.id, CHUNK_HEADER_BYTES);
  for (const run of runs) {
    at = bytes.writeUInt32BE(run.lengthBytes, at);
    at = bytes.writeUInt32BE(run.flags, at);
  }
  return bytes;
}

/** What an export and a connection allow, fixed when the transmission phase begins. */
export interface RequestRules {
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly blockSizeMinBytes: number;
  readonly structured: boolean;
  /** What BLOCK_STATUS answers for; with none it is not negotiated. */
  readonly contexts: readonly MetaContext[];
}

/**
 * What the specification's "Error values" says of a request: 0, or the errno to answer. DISC is not asked
 * about, and a WRITE beyond `payloadMaxBytes` is the caller's to drop.
 */
export function checkRequest(request: RequestHeader, rules: RequestRules): number {
  const { command, flags, offset, length } = request;
  let allowed = CommandFlag.FUA as number;
  switch (command) {
    case Command.READ:
      if (rules.structured) allowed |= CommandFlag.DF;
      if (length > NBD_LIMITS.payloadMaxBytes) return Errno.EINVAL;
      break;
    case Command.WRITE:
      if (rules.readOnly) return Errno.EPERM;
      break;
    case Command.TRIM:
      if (rules.readOnly) return Errno.EPERM;
      break;
    case Command.WRITE_ZEROES:
      if (rules.readOnly) return Errno.EPERM;
      allowed |= CommandFlag.NO_HOLE | CommandFlag.FAST_ZERO;
      break;
    case Command.BLOCK_STATUS:
      if (rules.contexts.length === 0 || length === 0) return Errno.EINVAL;
      allowed |= CommandFlag.REQ_ONE;
      break;
    case Command.CACHE:
      break;
    case Command.FLUSH:
      return (flags & ~allowed) !== 0 || offset !== 0 || length !== 0 ? Errno.EINVAL : Errno.OK;
    default:
      return Errno.EINVAL;
  }
  if ((flags & ~allowed) !== 0) return Errno.EINVAL;
  if (offset + length > rules.sizeBytes) {
    return command === Command.WRITE || command === Command.WRITE_ZEROES ? Errno.ENOSPC : Errno.EINVAL;
  }
  const mask = rules.blockSizeMinBytes;
  if (offset % mask !== 0 || length % mask !== 0) return Errno.EINVAL;
  return Errno.OK;
}

/** Why `checkRequest` refused, for people. */
export function refusalText(
  request: Pick<RequestHeader, 'command' | 'flags' | 'offset' | 'length'>,
  rules: RequestRules,
): string {
  const { command, flags, offset, length } = request;
  const what = `command ${command} at ${offset}, ${length} bytes, flags ${flags}`;
  const changes = command === Command.WRITE || command === Command.TRIM || command === Command.WRITE_ZEROES;
  if (changes && rules.readOnly) return 'the export is read-only';
  if (offset + length > rules.sizeBytes) return `${what}: past the export's ${rules.sizeBytes} bytes`;
  return `${what}: unknown, not negotiated, too long, or not whole blocks of ${rules.blockSizeMinBytes} bytes`;
}

const ERRNO_OF_CODE: Partial<Record<ErrorCode, number>> = {
  READ_ONLY: Errno.EPERM,
  DENIED: Errno.EPERM,
  NO_SPACE: Errno.ENOSPC,
  UNSATISFIABLE: Errno.ENOSPC,
  INVALID: Errno.EINVAL,
  USAGE: Errno.EINVAL,
  LIMIT: Errno.ENOMEM,
  FENCED: Errno.ESHUTDOWN,
  STALE_SESSION: Errno.ESHUTDOWN,
};

/**
 * ENOTSUP is kept for what the specification keeps it for, a fast zero that would not be fast; any other
 * NOT_SUPPORTED is EINVAL. What has no better number is EIO.
 */
export function errnoOf(error: RawstorError, command: number, flags: number): number {
  if (error.code === 'NOT_SUPPORTED') {
    const fast = command === Command.WRITE_ZEROES && (flags & CommandFlag.FAST_ZERO) !== 0;
    return fast ? Errno.ENOTSUP : Errno.EINVAL;
  }
  // The snapshot of a context is gone: asked about again, it still is.
  if (error.code === 'NOT_FOUND' && command === Command.BLOCK_STATUS) return Errno.EINVAL;
  return ERRNO_OF_CODE[error.code] ?? Errno.EIO;
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** UTF-8 of at most `maxBytes`, cut between characters, without NUL. */
export function cutText(text: string, maxBytes: number): Buffer {
  const bytes = Buffer.from(text.replaceAll('\0', ''));
  let end = Math.min(bytes.length, maxBytes);
  while (end < bytes.length && end > 0 && (bytes[end]! & 0xc0) === 0x80) end--;
  return bytes.subarray(0, end);
}
