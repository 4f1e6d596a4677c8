import {
  HandshakeFlag,
  MAGIC_HIGH,
  MAGIC_LOW,
  NBD_LIMITS,
  OPTION_MAGIC_HIGH,
  OPTION_MAGIC_LOW,
  OPTION_REPLY_MAGIC_HIGH,
  OPTION_REPLY_MAGIC_LOW,
  OptionReply,
  TransmissionFlag,
} from './constants.js';
import type { ContextFacts } from './contexts.js';
import type { ExportName } from './handshake.js';
import { cutText } from './transmission.js';

const REPLY_BYTES = 20;

/** What the handshake tells of an export. */
export interface ExportFacts extends ContextFacts {
  /** The name it is listed under. */
  readonly name: string;
  readonly description?: string | undefined;
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly multiConnection: boolean;
  readonly blockSizeMinBytes: number;
  readonly blockSizePreferredBytes: number;
}

/** "Newstyle negotiation": what the server says first. */
export function helloBytes(): Buffer {
  const bytes = Buffer.alloc(18);
  bytes.writeUInt32BE(MAGIC_HIGH, 0);
  bytes.writeUInt32BE(MAGIC_LOW, 4);
  bytes.writeUInt32BE(OPTION_MAGIC_HIGH, 8);
  bytes.writeUInt32BE(OPTION_MAGIC_LOW, 12);
  bytes.writeUInt16BE(HandshakeFlag.FIXED_NEWSTYLE | HandshakeFlag.NO_ZEROES, 16);
  return bytes;
}

/** Option header: u64 magic, u32 option, u32 length of its data. Null when the magic is wrong. */
export function decodeOptionHeader(
  bytes: Buffer,
  at: number,
): { option: number; lengthBytes: number } | null {
  if (bytes.readUInt32BE(at) !== OPTION_MAGIC_HIGH) return null;
  if (bytes.readUInt32BE(at + 4) !== OPTION_MAGIC_LOW) return null;
  return { option: bytes.readUInt32BE(at + 8), lengthBytes: bytes.readUInt32BE(at + 12) };
}

/** Option reply: u64 magic, u32 option, u32 reply type, u32 length, data. */
export function optionReply(option: number, type: number, data: Buffer = Buffer.alloc(0)): Buffer {
  const bytes = Buffer.alloc(REPLY_BYTES + data.length);
  data.copy(bytes, replyHeader(bytes, 0, option, type, data.length));
  return bytes;
}

/** One SERVER reply a name (u32 length, name, text), and ACK: thousands of them, so in one piece. */
export function listReplies(option: number, exports: readonly ExportName[]): Buffer {
  const texts = exports.map(({ description }) => cutText(description ?? '', NBD_LIMITS.messageBytes));
  const names = exports.map(({ name }) => Buffer.byteLength(name));
  let sizeBytes = REPLY_BYTES;
  for (const [i, text] of texts.entries()) sizeBytes += REPLY_BYTES + 4 + names[i]! + text.length;
  const bytes = Buffer.allocUnsafe(sizeBytes);
  let at = 0;
  for (const [i, text] of texts.entries()) {
    const nameBytes = names[i]!;
    at = replyHeader(bytes, at, option, OptionReply.SERVER, 4 + nameBytes + text.length);
    at = bytes.writeUInt32BE(nameBytes, at);
    at += bytes.write(exports[i]!.name, at);
    at += text.copy(bytes, at);
  }
  replyHeader(bytes, at, option, OptionReply.ACK, 0);
  return bytes;
}

function replyHeader(bytes: Buffer, at: number, option: number, type: number, lengthBytes: number): number {
  bytes.writeUInt32BE(OPTION_REPLY_MAGIC_HIGH, at);
  bytes.writeUInt32BE(OPTION_REPLY_MAGIC_LOW, at + 4);
  bytes.writeUInt32BE(option, at + 8);
  bytes.writeUInt32BE(type, at + 12);
  return bytes.writeUInt32BE(lengthBytes, at + 16);
}

export function transmissionFlags(facts: ExportFacts, structured: boolean): number {
  let flags = TransmissionFlag.HAS_FLAGS | TransmissionFlag.SEND_FLUSH | TransmissionFlag.SEND_CACHE;
  if (structured) flags |= TransmissionFlag.SEND_DF;
  if (facts.multiConnection) flags |= TransmissionFlag.CAN_MULTI_CONN;
  if (facts.readOnly) return flags | TransmissionFlag.READ_ONLY;
  return (
    flags |
    TransmissionFlag.SEND_FUA |
    TransmissionFlag.SEND_TRIM |
    TransmissionFlag.SEND_WRITE_ZEROES |
    TransmissionFlag.SEND_FAST_ZERO
  );
}
