import { KiB, MiB } from '../common/units.js';

/**
 * Numbers of the NBD protocol, named as in its specification (doc/proto.md of the reference implementation)
 * less the NBD_ prefix. Everything on the wire is big endian.
 */

/** Magics as two words: 64-bit numbers never pass through a double. */
export const MAGIC_HIGH = 0x4e42444d; // 'NBDM'
export const MAGIC_LOW = 0x41474943; // 'AGIC'
export const OPTION_MAGIC_HIGH = 0x49484156; // 'IHAV'
export const OPTION_MAGIC_LOW = 0x454f5054; // 'EOPT'
export const OPTION_REPLY_MAGIC_HIGH = 0x0003e889;
export const OPTION_REPLY_MAGIC_LOW = 0x045565a9;
export const REQUEST_MAGIC = 0x25609513;
export const SIMPLE_REPLY_MAGIC = 0x67446698;
export const STRUCTURED_REPLY_MAGIC = 0x668e33ef;

export const HandshakeFlag = { FIXED_NEWSTYLE: 1, NO_ZEROES: 2 } as const;

export const TransmissionFlag = {
  HAS_FLAGS: 1 << 0,
  READ_ONLY: 1 << 1,
  SEND_FLUSH: 1 << 2,
  SEND_FUA: 1 << 3,
  SEND_TRIM: 1 << 5,
  SEND_WRITE_ZEROES: 1 << 6,
  SEND_DF: 1 << 7,
  CAN_MULTI_CONN: 1 << 8,
  SEND_CACHE: 1 << 10,
  SEND_FAST_ZERO: 1 << 11,
} as const;

export const Option = {
  EXPORT_NAME: 1,
  ABORT: 2,
  LIST: 3,
  STARTTLS: 5,
  INFO: 6,
  GO: 7,
  STRUCTURED_REPLY: 8,
  LIST_META_CONTEXT: 9,
  SET_META_CONTEXT: 10,
} as const;

export const OptionReply = {
  ACK: 1,
  SERVER: 2,
  INFO: 3,
  META_CONTEXT: 4,
  ERR_UNSUP: 0x80000001,
  ERR_POLICY: 0x80000002,
  ERR_INVALID: 0x80000003,
  ERR_PLATFORM: 0x80000004,
  ERR_UNKNOWN: 0x80000006,
  ERR_SHUTDOWN: 0x80000007,
  ERR_TOO_BIG: 0x80000009,
} as const;

export const Info = { EXPORT: 0, NAME: 1, DESCRIPTION: 2, BLOCK_SIZE: 3 } as const;

export const Command = {
  READ: 0,
  WRITE: 1,
  DISC: 2,
  FLUSH: 3,
  TRIM: 4,
  CACHE: 5,
  WRITE_ZEROES: 6,
  BLOCK_STATUS: 7,
} as const;

export const CommandFlag = { FUA: 1, NO_HOLE: 2, DF: 4, REQ_ONE: 8, FAST_ZERO: 16 } as const;

export const ChunkFlag = { DONE: 1 } as const;

export const ChunkType = {
  NONE: 0,
  OFFSET_DATA: 1,
  OFFSET_HOLE: 2,
  BLOCK_STATUS: 5,
  ERROR: 0x8001,
  ERROR_OFFSET: 0x8002,
} as const;

export const ExtentFlag = { HOLE: 1, ZERO: 2 } as const;

/** The only errors that may cross the wire. */
export const Errno = {
  OK: 0,
  EPERM: 1,
  EIO: 5,
  ENOMEM: 12,
  EINVAL: 22,
  ENOSPC: 28,
  EOVERFLOW: 75,
  ENOTSUP: 95,
  ESHUTDOWN: 108,
} as const;

export const OPTION_HEADER_BYTES = 16;
export const OPTION_REPLY_HEADER_BYTES = 20;
export const CLIENT_FLAGS_BYTES = 4;
export const REQUEST_BYTES = 28;
export const SIMPLE_REPLY_BYTES = 16;
export const CHUNK_HEADER_BYTES = 20;
/** Chunk header and the offset that begins an OFFSET_DATA chunk. */
export const DATA_CHUNK_BYTES = 28;
export const EXTENT_BYTES = 8;

export const NBD_LIMITS = {
  /** Strings of the protocol: "MUST be no longer than 4096 bytes". */
  stringBytes: 4 * KiB,
  /** Longest option data that is looked at; longer ones are skipped and answered TOO_BIG. */
  optionBytes: 64 * KiB,
  /** Longest option data that is skipped; beyond it the connection is dropped. */
  optionSkipBytes: 32 * MiB,
  /** Options in one handshake; a client that haggles longer is dropped. */
  optionsPerHandshake: 4096,
  /** Meta context queries and information requests in one option. */
  queriesPerOption: 1024,
  /** Metadata contexts that one connection may select: each BLOCK_STATUS answers for all. */
  contextsPerConnection: 16,
  /** Advertised as the maximum block size. */
  payloadAdvertisedBytes: 32 * MiB,
  /** Accepted although more than advertised: clients that never asked. A longer write drops the connection. */
  payloadMaxBytes: 64 * MiB,
  /** Cut for messages to people inside replies. */
  messageBytes: 1 * KiB,
} as const;

/** IANA's port for NBD. */
export const NBD_PORT = 10809;
