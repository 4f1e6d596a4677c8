import {
  HandshakeFlag,
  MAGIC_HIGH,
  MAGIC_LOW,
  OPTION_MAGIC_HIGH,
  OPTION_MAGIC_LOW,
  OPTION_REPLY_MAGIC_HIGH,
  OPTION_REPLY_MAGIC_LOW,
  TransmissionFlag,
} from './constants.js';
import type { ContextFacts } from './contexts.js';

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
  const bytes = Buffer.alloc(20 + data.length);
  bytes.writeUInt32BE(OPTION_REPLY_MAGIC_HIGH, 0);
  bytes.writeUInt32BE(OPTION_REPLY_MAGIC_LOW, 4);
  bytes.writeUInt32BE(option, 8);
  bytes.writeUInt32BE(type, 12);
  bytes.writeUInt32BE(data.length, 16);
  data.copy(bytes, 20);
  return bytes;
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
