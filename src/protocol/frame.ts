import { crc32cOfView } from './crc32c.js';
import { viewOf } from './view.js';

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
  const view = viewOf(bytes);
  view.setUint32(at, FRAME_MAGIC, true);
  view.setUint8(at + 4, header.version);
  view.setUint8(at + 5, header.opcode);
  view.setUint16(at + 6, header.flags, true);
  view.setUint32(at + 8, header.requestId, true);
  view.setUint32(at + 12, header.handle, true);
  view.setUint32(at + 16, header.chunk, true);
  view.setUint32(at + 20, header.chunkVersion, true);
  writeU64(view, at + 24, header.sessionEpoch);
  view.setUint32(at + 32, header.sessionNumber, true);
  view.setUint32(at + 36, header.status, true);
  writeU64(view, at + 40, header.tag);
  writeU64(view, at + 48, header.offset);
  view.setUint32(at + 56, header.length, true);
  view.setUint32(at + 60, header.payloadBytes, true);
  view.setUint32(at + 64, 0, true);
  view.setUint32(at + 68, crc32cOfView(view, at, 68), true);
}

/** Reads the header at `at` into `header`; answers what is wrong with it, or null. */
export function decodeFrameHeader(bytes: Buffer, at: number, header: FrameHeader): FrameFault | null {
  const view = viewOf(bytes);
  if (view.getUint32(at, true) !== FRAME_MAGIC) return 'magic';
  if (view.getUint32(at + 68, true) !== crc32cOfView(view, at, 68)) return 'checksum';
  header.version = view.getUint8(at + 4);
  header.opcode = view.getUint8(at + 5);
  header.flags = view.getUint16(at + 6, true);
  header.requestId = view.getUint32(at + 8, true);
  header.handle = view.getUint32(at + 12, true);
  header.chunk = view.getUint32(at + 16, true);
  header.chunkVersion = view.getUint32(at + 20, true);
  header.sessionEpoch = readU64(view, at + 24);
  header.sessionNumber = view.getUint32(at + 32, true);
  header.status = view.getUint32(at + 36, true);
  header.tag = readU64(view, at + 40);
  header.offset = readU64(view, at + 48);
  header.length = view.getUint32(at + 56, true);
  header.payloadBytes = view.getUint32(at + 60, true);
  const exact =
    Number.isSafeInteger(header.sessionEpoch) &&
    Number.isSafeInteger(header.tag) &&
    Number.isSafeInteger(header.offset);
  return exact ? null : 'range';
}

function writeU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setUint32(at + 4, Math.floor(value / TWO32), true);
}

function readU64(view: DataView, at: number): number {
  return view.getUint32(at + 4, true) * TWO32 + view.getUint32(at, true);
}
