import { KiB, MiB } from '../common/units.js';

/** Numbers of linux/fuse.h, protocol 7, as far as they are used. All integers are in the byte order of the machine. */

export const FUSE_MAJOR = 7;
/** The oldest we speak: RENAME2, LSEEK and 64-byte INIT answers (7.23, 7.24), `max_pages` (7.28). Linux 4.20. */
export const FUSE_MINOR_MIN = 28;
/** What we have read the description of. */
export const FUSE_MINOR = 38;
export const ROOT_ID = 1;

export const Op = {
  LOOKUP: 1,
  FORGET: 2,
  GETATTR: 3,
  SETATTR: 4,
  SYMLINK: 6,
  MKNOD: 8,
  MKDIR: 9,
  UNLINK: 10,
  RMDIR: 11,
  RENAME: 12,
  LINK: 13,
  OPEN: 14,
  READ: 15,
  WRITE: 16,
  STATFS: 17,
  RELEASE: 18,
  FSYNC: 20,
  FLUSH: 25,
  INIT: 26,
  OPENDIR: 27,
  READDIR: 28,
  RELEASEDIR: 29,
  FSYNCDIR: 30,
  CREATE: 35,
  INTERRUPT: 36,
  DESTROY: 38,
  IOCTL: 39,
  BATCH_FORGET: 42,
  FALLOCATE: 43,
  READDIRPLUS: 44,
  RENAME2: 45,
  LSEEK: 46,
} as const;

/** Flags of INIT that we know what to do with. */
export const InitFlag = {
  ASYNC_READ: 1 << 0,
  BIG_WRITES: 1 << 5,
  DO_READDIRPLUS: 1 << 13,
  READDIRPLUS_AUTO: 1 << 14,
  ASYNC_DIO: 1 << 15,
  PARALLEL_DIROPS: 1 << 18,
  ABORT_ERROR: 1 << 21,
  MAX_PAGES: 1 << 22,
} as const;

/** `valid` of SETATTR. */
export const SetAttr = {
  MODE: 1 << 0,
  UID: 1 << 1,
  GID: 1 << 2,
  SIZE: 1 << 3,
  ATIME: 1 << 4,
  MTIME: 1 << 5,
  FH: 1 << 6,
  ATIME_NOW: 1 << 7,
  MTIME_NOW: 1 << 8,
} as const;

export const FallocateMode = { KEEP_SIZE: 1, PUNCH_HOLE: 2, ZERO_RANGE: 16 } as const;
export const Whence = { DATA: 3, HOLE: 4 } as const;
export const RENAME_NOREPLACE = 1;

/** open(2) on Linux. */
export const OpenFlag = {
  ACCESS_MODE: 3,
  READ_ONLY: 0,
  EXCLUSIVE: 0o200,
  TRUNCATE: 0o1000,
  DSYNC: 0o10000,
} as const;
export const FileType = { DIRECTORY: 0o040000, REGULAR: 0o100000, MASK: 0o170000 } as const;

export const Errno = {
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  EBADF: 9,
  EBUSY: 16,
  EEXIST: 17,
  EXDEV: 18,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  ENFILE: 23,
  ENOTTY: 25,
  EFBIG: 27,
  ENOSPC: 28,
  EROFS: 30,
  ENAMETOOLONG: 36,
  ENOSYS: 38,
  EPROTO: 71,
  EOPNOTSUPP: 95,
  ESTALE: 116,
} as const;

export const IN_HEADER_BYTES = 40;
export const OUT_HEADER_BYTES = 16;
export const WRITE_IN_BYTES = 40;
export const ATTR_BYTES = 88;
export const ENTRY_BYTES = 40 + ATTR_BYTES;
/** Of a directory's entry, before the name. */
export const DIRENT_BYTES = 24;

export const PAGE_BYTES = 4 * KiB;

export const FUSE_LIMITS = {
  /** Data of one READ or WRITE: what the kernel gives with 256 pages a request, and one device request takes. */
  payloadBytes: MiB,
  /**
   * Requests that the kernel sends without anybody waiting: read-ahead, asynchronous direct I/O. Half of the slots: one volume that waits
   * leaves room for others.
   */
  background: 64,
  /** Messages that are asked for at the same time. */
  readsWaiting: 4,
  /** Memory for messages: large writes keep theirs until they are done. With all in use nothing more is taken. */
  slots: 128,
  /** So many of these are for what is no large write that is stuck. */
  slotsReserved: 16,
  /** For data of large writes that have no slot any more. */
  spilledBytes: 256 * MiB,
  /** Writes up to this are copied out of the memory that they came in. */
  copiedBytes: 64 * KiB,
  /** Requests taken and not answered. */
  inFlight: 4096,
  /** Open files and directories. */
  handles: 65536,
  nameBytes: 255,
  /** One answer about a directory. */
  listingBytes: 64 * KiB,
} as const;
