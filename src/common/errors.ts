/**
 * The one error type that reaches users. Every code has a number for the wire, a sysexits exit code for
 * commands and an errno-like number for block protocols, so that no facade has to guess.
 */

interface CodeInfo {
  /** Status on the wire (frame header), never reused. */
  readonly wire: number;
  /** Process exit code, sysexits(3). */
  readonly exit: number;
  /** Linux errno that a block protocol answers. */
  readonly errno: number;
}

export const ERROR_CODES = {
  USAGE: { wire: 1, exit: 64, errno: 22 },
  BAD_DATA: { wire: 2, exit: 65, errno: 5 },
  NOT_FOUND: { wire: 3, exit: 66, errno: 2 },
  UNAVAILABLE: { wire: 4, exit: 69, errno: 5 },
  INTERNAL: { wire: 5, exit: 70, errno: 5 },
  OS_ERROR: { wire: 6, exit: 71, errno: 5 },
  EXISTS: { wire: 7, exit: 73, errno: 17 },
  CANNOT_CREATE: { wire: 8, exit: 73, errno: 5 },
  NO_SPACE: { wire: 9, exit: 73, errno: 28 },
  UNSATISFIABLE: { wire: 10, exit: 73, errno: 28 },
  IO: { wire: 11, exit: 74, errno: 5 },
  BUSY: { wire: 12, exit: 75, errno: 16 },
  TIMEOUT: { wire: 13, exit: 75, errno: 110 },
  CONNECTION_LOST: { wire: 14, exit: 75, errno: 5 },
  PROTOCOL: { wire: 15, exit: 76, errno: 71 },
  VERSION: { wire: 16, exit: 76, errno: 93 },
  DENIED: { wire: 17, exit: 77, errno: 13 },
  READ_ONLY: { wire: 18, exit: 77, errno: 1 },
  CONFIG: { wire: 19, exit: 78, errno: 22 },
  FENCED: { wire: 20, exit: 75, errno: 108 },
  INVALID: { wire: 21, exit: 64, errno: 22 },
  CONFLICT: { wire: 22, exit: 75, errno: 5 },
  NOT_SUPPORTED: { wire: 23, exit: 69, errno: 95 },
  LIMIT: { wire: 24, exit: 75, errno: 12 },
  STALE_SESSION: { wire: 25, exit: 75, errno: 108 },
  LOSS: { wire: 26, exit: 74, errno: 5 },
  CHECKSUM: { wire: 27, exit: 65, errno: 5 },
} as const satisfies Record<string, CodeInfo>;

export type ErrorCode = keyof typeof ERROR_CODES;

const CODE_OF_WIRE = new Map<number, ErrorCode>(
  (Object.keys(ERROR_CODES) as ErrorCode[]).map((code) => [ERROR_CODES[code].wire, code]),
);

export interface ErrorDetail {
  /** Where it failed: a path, an address, a volume, a chunk. */
  where?: string | undefined;
  /** What the reader can do about it. */
  hint?: string | undefined;
  cause?: unknown;
}

export class RawstorError extends Error {
  override readonly name = 'RawstorError';
  readonly code: ErrorCode;
  readonly where: string | undefined;
  readonly hint: string | undefined;

  constructor(code: ErrorCode, message: string, detail: ErrorDetail = {}) {
    super(message, detail.cause === undefined ? undefined : { cause: detail.cause });
    this.code = code;
    this.where = detail.where;
    this.hint = detail.hint;
  }

  get exitCode(): number {
    return ERROR_CODES[this.code].exit;
  }

  get wire(): number {
    return ERROR_CODES[this.code].wire;
  }

  get errno(): number {
    return ERROR_CODES[this.code].errno;
  }

  /** One or two lines for a person: what failed, where, and what to do. */
  toUserText(): string {
    const where = this.where === undefined ? '' : ` (${this.where})`;
    const hint = this.hint === undefined ? '' : `\n  ${this.hint}`;
    return `${this.message}${where} [${this.code}]${hint}`;
  }
}

/** Wire status to code; an unknown number (a newer peer) is an I/O error. */
export function codeOfWire(wire: number): ErrorCode {
  return CODE_OF_WIRE.get(wire) ?? 'IO';
}

const CODE_OF_ERRNO: Record<string, ErrorCode> = {
  ENOSPC: 'NO_SPACE',
  EDQUOT: 'NO_SPACE',
  EACCES: 'DENIED',
  EPERM: 'DENIED',
  EROFS: 'READ_ONLY',
  ENOENT: 'NOT_FOUND',
  ENOTDIR: 'USAGE',
  EISDIR: 'USAGE',
  EEXIST: 'EXISTS',
  EADDRINUSE: 'BUSY',
  ECONNREFUSED: 'UNAVAILABLE',
  ECONNRESET: 'CONNECTION_LOST',
  EPIPE: 'CONNECTION_LOST',
  ETIMEDOUT: 'TIMEOUT',
  EIO: 'IO',
};

/** What people can do about what the system says. */
const HINT_OF_ERRNO: Record<string, string> = {
  EACCES: 'run this as a user who may, or change the permissions',
  EPERM: 'run this as a user who may, or change the permissions',
  EROFS: 'choose a place that can be written to',
  ENOENT: 'check the path, every directory of it',
  ENOTDIR: 'a part of the path is a file: check the path',
  EISDIR: 'this is a directory, a file is wanted',
  ENOSPC: 'free some space, or choose another place',
  EDQUOT: 'free some space, or choose another place',
};

/** Node writes `ENOENT: no such file or directory, open '/x'`; the path is told as the place. */
function ofSystem(code: ErrorCode, system: NodeJS.ErrnoException, where?: string): RawstorError {
  const said = /^[A-Z0-9]+: ([^,]+), (\w+)/.exec(system.message);
  const text = said === null ? system.message : `cannot ${said[2]}: ${said[1]}`;
  // Of paths only: a connection that is refused is another matter.
  const hint = said === null ? undefined : HINT_OF_ERRNO[system.code ?? ''];
  return new RawstorError(code, text, { where: where ?? system.path, hint, cause: system });
}

/** Any thrown value as a RawstorError; system errors keep their meaning and their path. */
export function asRawstorError(error: unknown, where?: string): RawstorError {
  if (error instanceof RawstorError) return error;
  const system = error as NodeJS.ErrnoException;
  if (typeof system?.code === 'string' && system.code in CODE_OF_ERRNO) {
    const code = CODE_OF_ERRNO[system.code] ?? 'OS_ERROR';
    return ofSystem(code, system, where);
  }
  if (typeof system?.code === 'string' && system.syscall !== undefined) {
    return ofSystem('OS_ERROR', system, where);
  }
  const message = error instanceof Error ? error.message : String(error);
  return new RawstorError('INTERNAL', message, { where, cause: error });
}

/** Negative errno of a system call to wire status. */
export function wireOfErrno(errno: number): number {
  switch (Math.abs(errno)) {
    case 28: // ENOSPC
    case 122: // EDQUOT
      return ERROR_CODES.NO_SPACE.wire;
    case 12: // ENOMEM
      return ERROR_CODES.LIMIT.wire;
    case 30: // EROFS
      return ERROR_CODES.READ_ONLY.wire;
    default:
      return ERROR_CODES.IO.wire;
  }
}
