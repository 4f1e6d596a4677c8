/** Numbers of linux/io_uring.h and the system calls it carries, as far as they are used. */
export const RingOp = {
  NOP: 0,
  READV: 1,
  WRITEV: 2,
  FSYNC: 3,
  POLL_ADD: 6,
  SYNC_FILE_RANGE: 8,
  SENDMSG: 9,
  ACCEPT: 13,
  ASYNC_CANCEL: 14,
  CONNECT: 16,
  FALLOCATE: 17,
  READ: 22,
  WRITE: 23,
  SEND: 26,
  RECV: 27,
} as const;

export const ENTER_GETEVENTS = 1;
export const SQ_CQ_OVERFLOW = 2;
export const SQ_TASKRUN = 4;
export const CQ_EVENTFD_DISABLED = 1;
export const FSYNC_DATASYNC = 1;
export const POLLIN = 1;
/** Of ASYNC_CANCEL: everything on the descriptor. */
export const CANCEL_ALL_OF_FD = 3;

export const SETUP_COOP_TASKRUN = 1 << 8;
export const SETUP_DEFER_TASKRUN = 1 << 13;

export const MSG_WAITALL = 0x100;
export const MSG_NOSIGNAL = 0x4000;
export const SOCK_CLOEXEC = 0o2000000;

export const FALLOC_KEEP_SIZE = 1;
export const FALLOC_PUNCH_HOLE = 2;
export const SYNC_RANGE_WRITE = 2;
export const SEEK_DATA = 3;
export const SEEK_HOLE = 4;

/** struct iovec { void *base; size_t length; } */
export const IOVEC_BYTES = 16;
/** struct msghdr on 64-bit Linux. */
export const MSGHDR_BYTES = 56;
/** IOV_MAX. */
export const IOVECS_MAX = 1024;

/** IOSQE_ASYNC of io_uring_enter(2), where an entry has its flags: beside the opcode. */
export const ALWAYS_ASYNC = 1 << (4 + 8);
