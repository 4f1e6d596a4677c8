import { formatId } from '../common/ids.js';

/**
 * Keys and values of an OST's records, as docs/formats-ost.md lists them. Numbers in keys are big endian, so that
 * keys sort as numbers do; numbers in values are little endian.
 */
export const RecordType = {
  META: 0x4d, // M
  BOOT: 0x42, // B
  OBJECT: 0x4f, // O
  FENCE: 0x46, // F
  SET: 0x53, // S
  CHUNK: 0x43, // C
  REGIONS: 0x52, // R
  SUMS: 0x4b, // K
  ZEROS: 0x5a, // Z
  SCRUB: 0x55, // U
  DAMAGE: 0x44, // D
  DRAINING: 0x4e, // N
  TOMBSTONE: 0x54, // T
} as const;

export const REGIONS_PER_PAGE = 256;

export function singleKey(type: number): Buffer {
  return Buffer.from([type]);
}

/** Type and object: also the start of every key of that type and object. */
export function objectKey(type: number, id: Uint8Array): Buffer {
  const key = Buffer.allocUnsafe(17);
  key[0] = type;
  key.set(id, 1);
  return key;
}

export function chunkKey(id: Uint8Array, chunk: number, version: number): Buffer {
  const key = Buffer.allocUnsafe(25);
  key[0] = RecordType.CHUNK;
  key.set(id, 1);
  key.writeUInt32BE(chunk, 17);
  key.writeUInt32BE(version, 21);
  return key;
}

export function parseChunkKey(key: Buffer): { chunk: number; version: number } {
  return { chunk: key.readUInt32BE(17), version: key.readUInt32BE(21) };
}

/** Of a part of one version of a chunk: a region, a page of them, a block. */
export function placeKey(type: number, id: Uint8Array, chunk: number, version: number, part: number): Buffer {
  const key = Buffer.allocUnsafe(29);
  key[0] = type;
  key.set(id, 1);
  key.writeUInt32BE(chunk, 17);
  key.writeUInt32BE(version, 21);
  key.writeUInt32BE(part, 25);
  return key;
}

export function regionsKey(id: Uint8Array, chunk: number, version: number, page: number): Buffer {
  return placeKey(RecordType.REGIONS, id, chunk, version, page);
}

export function parseRegionsKey(key: Buffer): { chunk: number; version: number; page: number } {
  return { chunk: key.readUInt32BE(17), version: key.readUInt32BE(21), page: key.readUInt32BE(25) };
}

/** A block of 4 KiB that is known to be damaged. */
export function damageKey(id: Uint8Array, chunk: number, version: number, block: number): Buffer {
  return placeKey(RecordType.DAMAGE, id, chunk, version, block);
}

export function parseDamageKey(key: Buffer): { chunk: number; version: number; block: number } {
  return { chunk: key.readUInt32BE(17), version: key.readUInt32BE(21), block: key.readUInt32BE(25) };
}

export function idOfKey(key: Buffer): string {
  return formatId(key.subarray(1, 17));
}

/** The first key after every key that starts with these bytes. */
export function keyAfterPrefix(prefix: Buffer): Buffer {
  const end = Buffer.from(prefix);
  for (let i = end.length - 1; i >= 0; i--) {
    if (end[i] !== 0xff) {
      end[i] = end[i]! + 1;
      return end.subarray(0, i + 1);
    }
  }
  return Buffer.alloc(prefix.length + 1, 0xff);
}

export interface Fence {
  sessionEpoch: number;
  sessionNumber: number;
}

export const FENCE_BYTES = 12;

export function encodeFence(fence: Fence): Buffer {
  const value = Buffer.allocUnsafe(FENCE_BYTES);
  writeEpoch(value, 0, fence.sessionEpoch);
  value.writeUInt32LE(fence.sessionNumber, 8);
  return value;
}

export function decodeFence(value: Buffer): Fence {
  return { sessionEpoch: readEpoch(value, 0), sessionNumber: value.readUInt32LE(8) };
}

/** Epochs of a page without its trailing zeros, eight bytes each. */
export function encodeRegions(epochs: Float64Array): Buffer {
  let count = epochs.length;
  while (count > 0 && epochs[count - 1] === 0) count--;
  const value = Buffer.allocUnsafe(count * 8);
  for (let i = 0; i < count; i++) writeEpoch(value, i * 8, epochs[i]!);
  return value;
}

export function decodeRegions(value: Buffer, into: Float64Array): void {
  const count = Math.min(into.length, value.length >>> 3);
  for (let i = 0; i < count; i++) into[i] = readEpoch(value, i * 8);
  into.fill(0, count);
}

const TWO32 = 4294967296;

function writeEpoch(bytes: Buffer, at: number, epoch: number): void {
  bytes.writeUInt32LE(epoch % TWO32, at);
  bytes.writeUInt32LE(Math.floor(epoch / TWO32), at + 4);
}

function readEpoch(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at + 4) * TWO32 + bytes.readUInt32LE(at);
}
