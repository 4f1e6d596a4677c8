import { randomBytes } from 'node:crypto';
import { systemClock } from './clock.js';
import { RawstorError } from './errors.js';

/** UUIDv7 (RFC 9562 section 5.7): sorts by creation time. */
export function newId(wallMs: number = systemClock.wallMs(), random: Uint8Array = randomBytes(10)): string {
  const bytes = Buffer.alloc(16);
  bytes.writeUIntBE(wallMs, 0, 6);
  bytes.set(random.subarray(0, 10), 6);
  bytes[6] = 0x70 | (bytes[6]! & 0x0f);
  bytes[8] = 0x80 | (bytes[8]! & 0x3f);
  return formatId(bytes);
}

/** 16 bytes to the hyphenated form. */
export function formatId(bytes: Uint8Array): string {
  const hex = Buffer.from(bytes.buffer, bytes.byteOffset, 16).toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

const ID_PATTERN = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

export function isId(text: string): boolean {
  return ID_PATTERN.test(text);
}

/** Hyphenated form to 16 bytes. @throws RawstorError INVALID */
export function parseId(text: string): Buffer {
  if (!isId(text)) throw new RawstorError('INVALID', `'${text}' is not an id`);
  return Buffer.from(text.replaceAll('-', ''), 'hex');
}
