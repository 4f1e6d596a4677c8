import { readI64, readU64 } from './bytes.js';
import { IN_HEADER_BYTES, Op } from './constants.js';

/**
 * What the kernel asks, as linux/fuse.h has it. A message is `fuse_in_header` and a body:
 *
 *     length u32, opcode u32, unique u64, nodeid u64, uid u32, gid u32, pid u32, extensions u16 (8 bytes each), padding u16
 *
 * Names end with a NUL. Decoders take the body and throw RangeError where it is too short.
 */
export interface RequestHeader {
  readonly lengthBytes: number;
  readonly opcode: number;
  readonly unique: number;
  readonly nodeId: number;
  readonly uid: number;
  readonly gid: number;
  readonly pid: number;
  /** Behind the body, which ends before them. */
  readonly extensionBytes: number;
}

/** @throws RangeError when it is not all there */
export function decodeHeader(bytes: Buffer, at: number): RequestHeader {
  const lengthBytes = bytes.readUInt32LE(at);
  if (lengthBytes < IN_HEADER_BYTES || at + lengthBytes > bytes.length) {
    throw new RangeError(`a request says that it has ${lengthBytes} bytes`);
  }
  return {
    lengthBytes,
    opcode: bytes.readUInt32LE(at + 4),
    unique: readU64(bytes, at + 8),
    nodeId: readU64(bytes, at + 16),
    uid: bytes.readUInt32LE(at + 24),
    gid: bytes.readUInt32LE(at + 28),
    pid: bytes.readUInt32LE(at + 32),
    extensionBytes: bytes.readUInt16LE(at + 36) * 8,
  };
}

export interface InitIn {
  readonly major: number;
  readonly minor: number;
  readonly maxReadaheadBytes: number;
  readonly flags: number;
}

export function decodeInit(body: Buffer): InitIn {
  return {
    major: body.readUInt32LE(0),
    minor: body.readUInt32LE(4),
    maxReadaheadBytes: body.readUInt32LE(8),
    flags: body.readUInt32LE(12),
  };
}

/** `at`: where it begins. @throws RangeError without its end */
export function decodeName(body: Buffer, at: number): string {
  const end = body.indexOf(0, at);
  if (end < at) throw new RangeError('a name without an end');
  return body.toString('utf8', at, end);
}

/** MKNOD (16 bytes before the name), CREATE (16, the flags of open(2) first). */
export interface CreateIn {
  /** 0 of MKNOD. */
  readonly flags: number;
  readonly mode: number;
  readonly name: string;
}

export function decodeCreate(opcode: number, body: Buffer): CreateIn {
  const isCreate = opcode === Op.CREATE;
  return {
    flags: isCreate ? body.readUInt32LE(0) : 0,
    mode: body.readUInt32LE(isCreate ? 4 : 0),
    name: decodeName(body, 16),
  };
}

export interface RenameIn {
  readonly newParent: number;
  readonly flags: number;
  readonly name: string;
  readonly newName: string;
}

/** RENAME has no flags, RENAME2 has. */
export function decodeRename(opcode: number, body: Buffer): RenameIn {
  const hasFlags = opcode === Op.RENAME2;
  const start = hasFlags ? 16 : 8;
  const name = decodeName(body, start);
  const newName = decodeName(body, body.indexOf(0, start) + 1);
  return { newParent: readU64(body, 0), flags: hasFlags ? body.readUInt32LE(8) : 0, name, newName };
}

export interface SetAttrIn {
  readonly valid: number;
  readonly handle: number;
  readonly sizeBytes: number;
  readonly mtimeMs: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

export function decodeSetAttr(body: Buffer): SetAttrIn {
  if (body.length < 88) throw new RangeError('SETATTR is too short');
  return {
    valid: body.readUInt32LE(0),
    handle: readU64(body, 8),
    sizeBytes: readU64(body, 16),
    mtimeMs: readI64(body, 40) * 1000 + Math.floor(body.readUInt32LE(60) / 1e6),
    mode: body.readUInt32LE(68),
    uid: body.readUInt32LE(76),
    gid: body.readUInt32LE(80),
  };
}

/** READ, READDIR, READDIRPLUS, and WRITE but for its data: 40 bytes. */
export interface RangeIn {
  readonly handle: number;
  readonly offset: number;
  readonly sizeBytes: number;
  /** Those of the open file, as they are now. */
  readonly openFlags: number;
}

export function decodeRange(body: Buffer): RangeIn {
  return {
    handle: readU64(body, 0),
    offset: readU64(body, 8),
    sizeBytes: body.readUInt32LE(16),
    openFlags: body.readUInt32LE(32),
  };
}

export interface FallocateIn {
  readonly handle: number;
  readonly offset: number;
  readonly lengthBytes: number;
  readonly mode: number;
}

export function decodeFallocate(body: Buffer): FallocateIn {
  return {
    handle: readU64(body, 0),
    offset: readU64(body, 8),
    lengthBytes: readU64(body, 16),
    mode: body.readUInt32LE(24),
  };
}

export interface SeekIn {
  readonly handle: number;
  readonly offset: number;
  readonly whence: number;
}

export function decodeSeek(body: Buffer): SeekIn {
  return { handle: readU64(body, 0), offset: readU64(body, 8), whence: body.readUInt32LE(16) };
}

/** RELEASE, RELEASEDIR, FSYNC, FSYNCDIR and FLUSH begin with it. */
export function decodeHandle(body: Buffer): number {
  return readU64(body, 0);
}

/** OPEN and OPENDIR. */
export function decodeOpenFlags(body: Buffer): number {
  return body.readUInt32LE(0);
}

/** INTERRUPT. @returns the `unique` of whom it is for */
export function decodeInterrupt(body: Buffer): number {
  return readU64(body, 0);
}

/** Calls for each node and how many look-ups of it are forgotten: FORGET of one, BATCH_FORGET of many. */
export function decodeForgets(
  header: Pick<RequestHeader, 'opcode' | 'nodeId'>,
  body: Buffer,
  each: (nodeId: number, lookups: number) => void,
): void {
  if (header.opcode === Op.FORGET) return each(header.nodeId, readU64(body, 0));
  const count = body.readUInt32LE(0);
  if (8 + count * 16 > body.length) throw new RangeError(`${count} forgets do not fit their message`);
  for (let i = 0; i < count; i++) each(readU64(body, 8 + i * 16), readU64(body, 16 + i * 16));
}
