import { crc32c } from './crc32c.js';

/**
 * The fixed header before every message of the data and control connections. Little endian, 72 bytes:
 *
 * | at | type | field |
 * |---|---|---|
 * | 0 | u32 | magic `RWS1` (0x31535752) |
 * | 4 | u8 | version of the protocol |
 * | 5 | u8 | opcode |
 * | 6 | u16 | flags |
 * | 8 | u32 | request id, chosen by the asker, unique among its unanswered requests |
 * | 12 | u32 | object handle, given by attach |
 * | 16 | u32 | chunk, index in the object |
 * | 20 | u32 | chunk version |
 * | 24 | u64 | session epoch |
 * | 32 | u32 | session number |
 * | 36 | u32 | status, in answers: 0 or a code of common/errors |
 * | 40 | u64 | tag: the epoch at which the write was sent |
 * | 48 | u64 | offset in the chunk, bytes |
 * | 56 | u32 | length of the range, bytes |
 * | 60 | u32 | length of the payload that follows, bytes |
 * | 64 | u32 | reserved, zero |
 * | 68 | u32 | CRC-32C of bytes 0 to 67 |
 *
 * The layout of a HELLO frame (opcode 1) stays the same in every version, so that two programs that cannot
 * talk can still say why.
 */
export const FRAME_MAGIC = 0x31535752;
export const FRAME_HEADER_BYTES = 72;

export const Opcode = {
  HELLO: 1,
  /** Control: msgpack `[method, params]`; answered by a frame with the ANSWER flag. */
  CALL: 2,
  /** Control, one way: msgpack `[event, params]`. */
  EVENT: 3,
  PING: 4,
  READ: 16,
  WRITE: 17,
  /** Range reads as zeros afterwards. */
  ZERO: 18,
  /** Range gives its space back; reads as zeros here, as the object is thin. */
  ERASE: 19,
  /** Everything of the object that was answered before is durable. */
  FLUSH: 20,
} as const;

export const FrameFlag = { ANSWER: 1, FUA: 2 } as const;

export class FrameHeader {
  version = 0;
  opcode = 0;
  flags = 0;
  requestId = 0;
  handle = 0;
  chunk = 0;
  chunkVersion = 0;
  sessionEpoch = 0;
  sessionNumber = 0;
  status = 0;
  tag = 0;
  offset = 0;
  length = 0;
  payloadBytes = 0;
}

export type FrameFault = 'magic' | 'checksum' | 'range';

const TWO32 = 4294967296;

/** Writes the header at `at`, checksum included. Numbers beyond 2^53 cannot occur: see LIMITS. */
export function encodeFrameHeader(bytes: Buffer, at: number, header: FrameHeader): void {
  bytes.writeUInt32LE(FRAME_MAGIC, at);
  bytes[at + 4] = header.version;
  bytes[at + 5] = header.opcode;
  bytes.writeUInt16LE(header.flags, at + 6);
  bytes.writeUInt32LE(header.requestId, at + 8);
  bytes.writeUInt32LE(header.handle, at + 12);
  bytes.writeUInt32LE(header.chunk, at + 16);
  bytes.writeUInt32LE(header.chunkVersion, at + 20);
  writeU64(bytes, at + 24, header.sessionEpoch);
  bytes.writeUInt32LE(header.sessionNumber, at + 32);
  bytes.writeUInt32LE(header.status, at + 36);
  writeU64(bytes, at + 40, header.tag);
  writeU64(bytes, at + 48, header.offset);
  bytes.writeUInt32LE(header.length, at + 56);
  bytes.writeUInt32LE(header.payloadBytes, at + 60);
  bytes.writeUInt32LE(0, at + 64);
  bytes.writeUInt32LE(crc32c(bytes, at, 68), at + 68);
}

/** Reads the header at `at` into `header`; answers what is wrong with it, or null. */
export function decodeFrameHeader(bytes: Buffer, at: number, header: FrameHeader): FrameFault | null {
  if (bytes.readUInt32LE(at) !== FRAME_MAGIC) return 'magic';
  if (bytes.readUInt32LE(at + 68) !== crc32c(bytes, at, 68)) return 'checksum';
  header.version = bytes[at + 4]!;
  header.opcode = bytes[at + 5]!;
  header.flags = bytes.readUInt16LE(at + 6);
  header.requestId = bytes.readUInt32LE(at + 8);
  header.handle = bytes.readUInt32LE(at + 12);
  header.chunk = bytes.readUInt32LE(at + 16);
  header.chunkVersion = bytes.readUInt32LE(at + 20);
  header.sessionEpoch = readU64(bytes, at + 24);
  header.sessionNumber = bytes.readUInt32LE(at + 32);
  header.status = bytes.readUInt32LE(at + 36);
  header.tag = readU64(bytes, at + 40);
  header.offset = readU64(bytes, at + 48);
  header.length = bytes.readUInt32LE(at + 56);
  header.payloadBytes = bytes.readUInt32LE(at + 60);
  const exact =
    Number.isSafeInteger(header.sessionEpoch) &&
    Number.isSafeInteger(header.tag) &&
    Number.isSafeInteger(header.offset);
  return exact ? null : 'range';
}

function writeU64(bytes: Buffer, at: number, value: number): void {
  bytes.writeUInt32LE(value % TWO32, at);
  bytes.writeUInt32LE(Math.floor(value / TWO32), at + 4);
}

function readU64(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at + 4) * TWO32 + bytes.readUInt32LE(at);
}
