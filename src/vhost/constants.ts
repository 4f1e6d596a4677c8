/** Numbers of the vhost-user protocol (QEMU, interop documents: vhost-user) and of virtio 1.2, as far as block devices use them. */

/** Front-end requests. */
export const Request = {
  GET_FEATURES: 1,
  SET_FEATURES: 2,
  SET_OWNER: 3,
  RESET_OWNER: 4,
  SET_MEM_TABLE: 5,
  SET_LOG_BASE: 6,
  SET_LOG_FD: 7,
  SET_VRING_NUM: 8,
  SET_VRING_ADDR: 9,
  SET_VRING_BASE: 10,
  GET_VRING_BASE: 11,
  SET_VRING_KICK: 12,
  SET_VRING_CALL: 13,
  SET_VRING_ERR: 14,
  GET_PROTOCOL_FEATURES: 15,
  SET_PROTOCOL_FEATURES: 16,
  GET_QUEUE_NUM: 17,
  SET_VRING_ENABLE: 18,
  SET_BACKEND_REQ_FD: 21,
  GET_CONFIG: 24,
  SET_CONFIG: 25,
  GET_INFLIGHT_FD: 31,
  SET_INFLIGHT_FD: 32,
  RESET_DEVICE: 34,
  GET_MAX_MEM_SLOTS: 36,
  ADD_MEM_REG: 37,
  REM_MEM_REG: 38,
  SET_STATUS: 39,
  GET_STATUS: 40,
} as const;

/** Back-end requests. */
export const BackendRequest = { CONFIG_CHANGE: 2 } as const;

export const HeaderFlag = { VERSION: 1, VERSION_MASK: 3, REPLY: 4, NEED_REPLY: 8 } as const;

/** Bits of GET_PROTOCOL_FEATURES. */
export const ProtocolFeature = {
  MQ: 0,
  LOG_SHMFD: 1,
  REPLY_ACK: 3,
  BACKEND_REQ: 5,
  CONFIG: 9,
  INFLIGHT_SHMFD: 12,
  RESET_DEVICE: 13,
  CONFIGURE_MEM_SLOTS: 15,
  STATUS: 16,
} as const;

/** Bits of GET_FEATURES. */
export const Feature = {
  SEG_MAX: 2,
  RO: 5,
  BLK_SIZE: 6,
  FLUSH: 9,
  TOPOLOGY: 10,
  CONFIG_WCE: 11,
  MQ: 12,
  DISCARD: 13,
  WRITE_ZEROES: 14,
  LOG_ALL: 26,
  INDIRECT_DESC: 28,
  EVENT_IDX: 29,
  PROTOCOL_FEATURES: 30,
  VERSION_1: 32,
  RING_PACKED: 34,
} as const;

export function hasBit(mask: bigint, bit: number): boolean {
  return ((mask >> BigInt(bit)) & 1n) === 1n;
}

export function maskOf(bits: readonly number[]): bigint {
  return bits.reduce((mask, bit) => mask | (1n << BigInt(bit)), 0n);
}

export const DescFlag = { NEXT: 1, WRITE: 2, INDIRECT: 4, AVAIL: 1 << 7, USED: 1 << 15 } as const;

export const BlkType = {
  IN: 0,
  OUT: 1,
  FLUSH: 4,
  GET_ID: 8,
  DISCARD: 11,
  WRITE_ZEROES: 13,
} as const;

export const BlkStatus = { OK: 0, IOERR: 1, UNSUPP: 2 } as const;

export const VHOST_LIMITS = {
  queues: 16,
  queueSize: 1024,
  /** Descriptors of one chain, those of an indirect table included. */
  chainDescriptors: 1024,
  memorySlots: 32,
  /** Mappings of a GiB each, or less, that the memory of one guest takes. */
  memoryWindows: 1024,
  /** Largest payload of a message: a memory table of 8 regions takes 264, a configuration 268. */
  messageBytes: 4096,
  fdsPerMessage: 8,
  /** Segments of one DISCARD or WRITE_ZEROES. */
  rangeSegments: 16,
  /** Data segments of one request: with header and status they fit a queue of 128 without indirect tables. */
  dataSegments: 126,
  /** Requests of one device that are worked on; the rest waits in the rings. */
  inFlight: 512,
  /** Chains of a ring that are taken in a row; the rest after whatever else this process has to do. */
  takenInRow: 512,
  /** Copies of what guests write, of one device. */
  copiedBytes: 32 * 1024 * 1024,
} as const;
