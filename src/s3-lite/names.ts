import { S3Error } from './errors.js';

/**
 * Keys in the catalog: printable ASCII in the order of the key's UTF-8 bytes, so that a listing is a range. A byte of the printable
 * characters # to } stands for itself; ! and a character are a byte below; ~ and a character are ~, DEL or a byte that begins a
 * character of several bytes, whose others follow as a character each.
 */
export function encodeKey(key: string): string {
  let text = '';
  for (const byte of Buffer.from(key, 'utf8')) text += encodeByte(byte);
  return text;
}

const BASE = 0x30;

function encodeByte(byte: number): string {
  if (byte < 0x23) return `!${String.fromCharCode(BASE + byte)}`;
  if (byte < 0x7e) return String.fromCharCode(byte);
  if (byte < 0x80) return `~${String.fromCharCode(0x2e + byte - 0x7e)}`;
  if (byte < 0xc0) return String.fromCharCode(BASE + byte - 0x80);
  return `~${String.fromCharCode(BASE + byte - 0xc0)}`;
}

export function decodeKey(text: string): string {
  const bytes: number[] = [];
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === 0x21) bytes.push(text.charCodeAt(++at) - BASE);
    else if (code !== 0x7e) bytes.push(code);
    else {
      const next = text.charCodeAt(++at);
      if (next < BASE) {
        bytes.push(0x7e + next - 0x2e);
        continue;
      }
      const lead = 0xc0 + next - BASE;
      bytes.push(lead);
      const others = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
      for (let i = 0; i < others; i++) bytes.push(0x80 + text.charCodeAt(++at) - BASE);
    }
  }
  return Buffer.from(bytes).toString('utf8');
}

/** The object's key, of the key of its row. */
export function keyOfRow(row: string): string {
  return decodeKey(row.slice(row.indexOf('/', 'key/'.length) + 1));
}

/** Rows of S3 in the catalog. */
export const ROW = {
  bucket: (bucket: string) => `bucket/${bucket}`,
  buckets: 'bucket/',
  key: (bucket: string, key: string) => `key/${bucket}/${encodeKey(key)}`,
  keys: (bucket: string) => `key/${bucket}/`,
  /** The blank is below every character of a key. */
  upload: (bucket: string, key: string, id: string) => `upload/${bucket}/${encodeKey(key)} ${id}`,
  uploads: (bucket: string) => `upload/${bucket}/`,
  part: (uploadId: string, part: number) => `part/${uploadId}/${String(part).padStart(5, '0')}`,
  parts: (uploadId: string) => `part/${uploadId}/`,
  access: (keyId: string) => `access/${keyId}`,
  accesses: 'access/',
} as const;

const KEY_BYTES = 1024;
/** Of a key as it is in a row. */
const ENCODED_BYTES = 1700;

/** Of what a listing begins behind: as much of it as a key can be long, which is the same to all keys. */
export const encodeMarker = (text: string) => encodeKey(text).slice(0, ENCODED_BYTES);

/** No key begins so. */
export const isBeyondKeys = (prefix: string) => encodeKey(prefix).length > ENCODED_BYTES;

/** @throws S3Error KeyTooLongError */
export function checkKey(key: string): void {
  if (Buffer.byteLength(key) > KEY_BYTES || isBeyondKeys(key)) {
    throw new S3Error('KeyTooLongError', 'Your key is too long');
  }
}

/** Amazon S3 user guide, "Bucket naming rules". @throws S3Error InvalidBucketName */
export function checkBucketName(name: string): void {
  const fits = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(name);
  // Its listing would be at the address where this server tells its figures.
  if (fits && name !== 'metrics' && !name.includes('..') && !/^\d+\.\d+\.\d+\.\d+$/.test(name)) return;
  throw new S3Error('InvalidBucketName', 'The specified bucket is not valid.', { BucketName: name });
}
