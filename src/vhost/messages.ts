import { HeaderFlag, VHOST_LIMITS } from './constants.js';

/**
 * Codec of vhost-user messages: { u32 request; u32 flags; u32 payload size } and a payload, all in the machine's order,
 * which is little-endian on everything that this runs on. Addresses and sizes become numbers; one above 2^53 is refused.
 */

export const HEADER_BYTES = 12;

export interface MessageHeader {
  readonly request: number;
  readonly flags: number;
  readonly payloadBytes: number;
}

/** @returns null for another version, a reply where a request belongs, or too long a payload */
export function decodeHeader(bytes: Buffer): MessageHeader | null {
  const header = {
    request: bytes.readUInt32LE(0),
    flags: bytes.readUInt32LE(4),
    payloadBytes: bytes.readUInt32LE(8),
  };
  if ((header.flags & HeaderFlag.VERSION_MASK) !== HeaderFlag.VERSION) return null;
  if ((header.flags & HeaderFlag.REPLY) !== 0) return null;
  return header.payloadBytes > VHOST_LIMITS.messageBytes ? null : header;
}

export function encodeMessage(request: number, flags: number, payload: Buffer): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES + payload.length);
  bytes.writeUInt32LE(request, 0);
  bytes.writeUInt32LE(HeaderFlag.VERSION | flags, 4);
  bytes.writeUInt32LE(payload.length, 8);
  payload.copy(bytes, HEADER_BYTES);
  return bytes;
}

export function encodeU64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt.asUintN(64, value));
  return bytes;
}

export function decodeU64(payload: Buffer): bigint | null {
  return payload.length === 8 ? payload.readBigUInt64LE(0) : null;
}

/** { u32 index; u32 number } */
export interface VringState {
  readonly index: number;
  readonly number: number;
}

export function decodeVringState(payload: Buffer): VringState | null {
  if (payload.length !== 8) return null;
  return { index: payload.readUInt32LE(0), number: payload.readUInt32LE(4) };
}

export function encodeVringState({ index, number }: VringState): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt32LE(index, 0);
  bytes.writeUInt32LE(number, 4);
  return bytes;
}

/** { u32 index; u32 flags; u64 descriptors; u64 used; u64 available; u64 log } in the front-end's addresses */
export interface VringAddresses {
  readonly index: number;
  readonly logged: boolean;
  readonly descriptors: number;
  readonly used: number;
  readonly available: number;
  /** Guest physical address of the used ring, for the dirty log. */
  readonly logAddress: number;
}

export function decodeVringAddresses(payload: Buffer): VringAddresses | null {
  if (payload.length !== 40) return null;
  const [descriptors, used, available, logAddress] = [8, 16, 24, 32].map((at) => exactU64(payload, at));
  if (descriptors == null || used == null || available == null || logAddress == null) return null;
  const logged = (payload.readUInt32LE(4) & 1) !== 0;
  return { index: payload.readUInt32LE(0), logged, descriptors, used, available, logAddress };
}

/** One memory region { u64 guest address; u64 size; u64 front-end's address; u64 offset in the descriptor } */
export interface RegionDescription {
  readonly guestAddress: number;
  readonly sizeBytes: number;
  readonly userAddress: number;
  readonly mapOffset: number;
}

const REGION_BYTES = 32;

/** SET_MEM_TABLE: { u32 regions; u32 padding; region[8] } */
export function decodeMemoryTable(payload: Buffer): RegionDescription[] | null {
  if (payload.length < 8) return null;
  const count = payload.readUInt32LE(0);
  if (count > VHOST_LIMITS.fdsPerMessage || payload.length < 8 + count * REGION_BYTES) return null;
  const regions: RegionDescription[] = [];
  for (let i = 0; i < count; i++) {
    const region = decodeRegionAt(payload, 8 + i * REGION_BYTES);
    if (region === null) return null;
    regions.push(region);
  }
  return regions;
}

/** ADD_MEM_REG, REM_MEM_REG: { u64 padding; region } */
export function decodeRegion(payload: Buffer): RegionDescription | null {
  return payload.length === 8 + REGION_BYTES ? decodeRegionAt(payload, 8) : null;
}

function decodeRegionAt(payload: Buffer, at: number): RegionDescription | null {
  const parts = [0, 8, 16, 24].map((skip) => exactU64(payload, at + skip));
  const [guestAddress, sizeBytes, userAddress, mapOffset] = parts;
  if (guestAddress == null || sizeBytes == null || userAddress == null || mapOffset == null) return null;
  const ends = [guestAddress + sizeBytes, userAddress + sizeBytes, mapOffset + sizeBytes];
  if (sizeBytes === 0 || !ends.every(Number.isSafeInteger)) return null;
  return { guestAddress, sizeBytes, userAddress, mapOffset };
}

/** GET_CONFIG, SET_CONFIG: { u32 offset; u32 size; u32 flags; bytes[size] } */
export interface ConfigRange {
  readonly offset: number;
  readonly bytes: Buffer;
}

export const CONFIG_BYTES_MAX = 256;
const CONFIG_HEADER_BYTES = 12;

export function decodeConfig(payload: Buffer): ConfigRange | null {
  if (payload.length < CONFIG_HEADER_BYTES) return null;
  const [offset, size] = [payload.readUInt32LE(0), payload.readUInt32LE(4)];
  if (offset + size > CONFIG_BYTES_MAX || payload.length !== CONFIG_HEADER_BYTES + size) return null;
  return { offset, bytes: payload.subarray(CONFIG_HEADER_BYTES) };
}

export function encodeConfig({ offset, bytes }: ConfigRange): Buffer {
  const payload = Buffer.alloc(CONFIG_HEADER_BYTES + bytes.length);
  payload.writeUInt32LE(offset, 0);
  payload.writeUInt32LE(bytes.length, 4);
  bytes.copy(payload, CONFIG_HEADER_BYTES);
  return payload;
}

/** GET_INFLIGHT_FD, SET_INFLIGHT_FD: { u64 size; u64 offset; u16 queues; u16 queue size } */
export interface InflightDescription {
  readonly sizeBytes: number;
  readonly mapOffset: number;
  readonly queues: number;
  readonly queueSize: number;
}

export function decodeInflight(payload: Buffer): InflightDescription | null {
  if (payload.length < 20) return null;
  const [sizeBytes, mapOffset] = [exactU64(payload, 0), exactU64(payload, 8)];
  if (sizeBytes === null || mapOffset === null) return null;
  return { sizeBytes, mapOffset, queues: payload.readUInt16LE(16), queueSize: payload.readUInt16LE(18) };
}

export function encodeInflight(inflight: InflightDescription): Buffer {
  // Its C struct is padded to whole u64.
  const payload = Buffer.alloc(24);
  payload.writeBigUInt64LE(BigInt(inflight.sizeBytes), 0);
  payload.writeBigUInt64LE(BigInt(inflight.mapOffset), 8);
  payload.writeUInt16LE(inflight.queues, 16);
  payload.writeUInt16LE(inflight.queueSize, 18);
  return payload;
}

/** SET_LOG_BASE: { u64 size; u64 offset } */
export function decodeLog(payload: Buffer): { sizeBytes: number; mapOffset: number } | null {
  if (payload.length !== 16) return null;
  const [sizeBytes, mapOffset] = [exactU64(payload, 0), exactU64(payload, 8)];
  return sizeBytes === null || mapOffset === null ? null : { sizeBytes, mapOffset };
}

function exactU64(payload: Buffer, at: number): number | null {
  const value = payload.readUInt32LE(at) + payload.readUInt32LE(at + 4) * 0x1_0000_0000;
  return Number.isSafeInteger(value) ? value : null;
}
