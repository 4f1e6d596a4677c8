import { readU64, writeI64, writeU64 } from './bytes.js';
import {
  ATTR_BYTES,
  DIRENT_BYTES,
  ENTRY_BYTES,
  FileType,
  FUSE_LIMITS,
  FUSE_MAJOR,
  FUSE_MINOR,
  FUSE_MINOR_MIN,
  InitFlag,
  PAGE_BYTES,
} from './constants.js';
import type { InitIn } from './requests.js';

/** What the kernel is answered: `fuse_out_header` (length u32, minus errno i32, unique u64), then a body as below. */

export function encodeHeader(
  bytes: Buffer,
  at: number,
  lengthBytes: number,
  errno: number,
  unique: number,
): void {
  bytes.writeUInt32LE(lengthBytes, at);
  bytes.writeInt32LE(errno === 0 ? 0 : -errno, at + 4);
  writeU64(bytes, at + 8, unique);
}

/** A file as stat(2) shows it; times in milliseconds since 1970. */
export interface Attributes {
  readonly ino: number;
  readonly sizeBytes: number;
  /** What is really used. */
  readonly usedBytes: number;
  readonly mtimeMs: number;
  readonly ctimeMs: number;
  readonly mode: number;
  readonly links: number;
  readonly uid: number;
  readonly gid: number;
}

export function encodeAttributes(bytes: Buffer, at: number, attributes: Attributes): void {
  const { ino, sizeBytes, usedBytes, mtimeMs, ctimeMs, mode, links, uid, gid } = attributes;
  writeU64(bytes, at, ino);
  writeU64(bytes, at + 8, sizeBytes);
  writeU64(bytes, at + 16, Math.ceil(usedBytes / 512));
  const times = [mtimeMs, mtimeMs, ctimeMs];
  for (const [i, timeMs] of times.entries()) {
    const seconds = Math.floor(timeMs / 1000);
    writeI64(bytes, at + 24 + i * 8, seconds);
    bytes.writeUInt32LE(Math.floor((timeMs - seconds * 1000) * 1e6), at + 48 + i * 4);
  }
  bytes.writeUInt32LE(mode, at + 60);
  bytes.writeUInt32LE(links, at + 64);
  bytes.writeUInt32LE(uid, at + 68);
  bytes.writeUInt32LE(gid, at + 72);
  bytes.writeUInt32LE(0, at + 76);
  bytes.writeUInt32LE(PAGE_BYTES, at + 80);
  bytes.writeUInt32LE(0, at + 84);
}

/** How long the kernel may rely on something. */
function encodeTime(bytes: Buffer, at: number, nsecAt: number, timeMs: number): void {
  writeU64(bytes, at, Math.floor(timeMs / 1000));
  bytes.writeUInt32LE((timeMs % 1000) * 1e6, nsecAt);
}

export interface Entry {
  /** 0: there is none of that name. */
  readonly nodeId: number;
  readonly attributes: Attributes;
  readonly entryValidMs: number;
  readonly attrValidMs: number;
}

/** fuse_entry_out: LOOKUP, MKNOD, and before each name of READDIRPLUS. */
export function encodeEntry(bytes: Buffer, at: number, entry: Entry): void {
  writeU64(bytes, at, entry.nodeId);
  writeU64(bytes, at + 8, 0);
  encodeTime(bytes, at + 16, at + 32, entry.entryValidMs);
  encodeTime(bytes, at + 24, at + 36, entry.attrValidMs);
  encodeAttributes(bytes, at + 40, entry.attributes);
}

export function entryBody(entry: Entry): Buffer {
  const bytes = Buffer.alloc(ENTRY_BYTES);
  encodeEntry(bytes, 0, entry);
  return bytes;
}

export function attributesBody(attributes: Attributes, validMs: number): Buffer {
  const bytes = Buffer.alloc(16 + ATTR_BYTES);
  encodeTime(bytes, 0, 8, validMs);
  encodeAttributes(bytes, 16, attributes);
  return bytes;
}

export function openBody(handle: number, flags = 0): Buffer {
  const bytes = Buffer.alloc(16);
  writeU64(bytes, 0, handle);
  bytes.writeUInt32LE(flags, 8);
  return bytes;
}

export function writtenBody(lengthBytes: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt32LE(lengthBytes, 0);
  return bytes;
}

export function seekBody(offset: number): Buffer {
  const bytes = Buffer.alloc(8);
  writeU64(bytes, 0, offset);
  return bytes;
}

export interface Space {
  readonly totalBytes: number;
  readonly freeBytes: number;
  readonly files: number;
}

export function spaceBody({ totalBytes, freeBytes, files }: Space): Buffer {
  const bytes = Buffer.alloc(80);
  const free = Math.floor(freeBytes / PAGE_BYTES);
  writeU64(bytes, 0, Math.floor(totalBytes / PAGE_BYTES));
  writeU64(bytes, 8, free);
  writeU64(bytes, 16, free);
  writeU64(bytes, 24, files);
  writeU64(bytes, 32, Number.MAX_SAFE_INTEGER - files);
  bytes.writeUInt32LE(PAGE_BYTES, 40);
  bytes.writeUInt32LE(FUSE_LIMITS.nameBytes, 44);
  bytes.writeUInt32LE(PAGE_BYTES, 48);
  return bytes;
}

const WANTED =
  InitFlag.ASYNC_READ |
  InitFlag.BIG_WRITES |
  InitFlag.DO_READDIRPLUS |
  InitFlag.READDIRPLUS_AUTO |
  InitFlag.ASYNC_DIO |
  InitFlag.PARALLEL_DIROPS |
  InitFlag.ABORT_ERROR |
  InitFlag.MAX_PAGES;

/**
 * The answer to INIT. A kernel of a later major version is told ours and asks again; null for one that is too old.
 * Locks are left to the kernel: nobody else sees them, and writers elsewhere are kept out by leases.
 */
export function initBody(init: InitIn): Buffer | null {
  if (init.major < FUSE_MAJOR) return null;
  const bytes = Buffer.alloc(64);
  bytes.writeUInt32LE(FUSE_MAJOR, 0);
  bytes.writeUInt32LE(FUSE_MINOR, 4);
  if (init.major > FUSE_MAJOR) return bytes;
  if (init.minor < FUSE_MINOR_MIN || (init.flags & InitFlag.MAX_PAGES) === 0) return null;
  bytes.writeUInt32LE(Math.min(init.minor, FUSE_MINOR), 4);
  bytes.writeUInt32LE(Math.min(init.maxReadaheadBytes, FUSE_LIMITS.payloadBytes), 8);
  bytes.writeUInt32LE((init.flags & WANTED) >>> 0, 12);
  bytes.writeUInt16LE(FUSE_LIMITS.background, 16);
  bytes.writeUInt16LE((FUSE_LIMITS.background * 3) / 4, 18);
  bytes.writeUInt32LE(FUSE_LIMITS.payloadBytes, 20);
  // Times are in milliseconds.
  bytes.writeUInt32LE(1e6, 24);
  bytes.writeUInt16LE(FUSE_LIMITS.payloadBytes / PAGE_BYTES, 28);
  return bytes;
}

/** Entries of a directory, as many as fit. */
export class DirectoryBody {
  private readonly bytes: Buffer;
  private readonly plus: boolean;
  lengthBytes = 0;

  constructor(sizeBytes: number, plus: boolean) {
    this.bytes = Buffer.alloc(sizeBytes);
    this.plus = plus;
  }

  /**
   * `next` is where reading goes on behind it. READDIRPLUS has `entry` before it: without a node (`.` and `..`) none was looked up.
   * False when there is no room.
   */
  add(name: string, next: number, ino: number, mode: number, entry: Entry | null): boolean {
    const nameBytes = Buffer.byteLength(name);
    const total = placeBytes(this.plus, nameBytes);
    if (this.lengthBytes + total > this.bytes.length) return false;
    let at = this.lengthBytes;
    if (this.plus) {
      if (entry !== null) encodeEntry(this.bytes, at, entry);
      at += ENTRY_BYTES;
    }
    writeU64(this.bytes, at, ino);
    writeU64(this.bytes, at + 8, next);
    this.bytes.writeUInt32LE(nameBytes, at + 16);
    this.bytes.writeUInt32LE((mode & FileType.MASK) >>> 12, at + 20);
    this.bytes.write(name, at + DIRENT_BYTES, 'utf8');
    this.lengthBytes += total;
    return true;
  }

  get body(): Buffer {
    return this.bytes.subarray(0, this.lengthBytes);
  }
}

/** Nodes that an answer to READDIRPLUS has looked up, `DirectoryBody.add`'s entries, in order. */
export function* nodesOfDirectory(body: Buffer): Generator<number> {
  for (let at = 0; at < body.length; ) {
    const nodeId = readU64(body, at);
    if (nodeId !== 0) yield nodeId;
    const nameBytes = body.readUInt32LE(at + ENTRY_BYTES + 16);
    at += placeBytes(true, nameBytes);
  }
}

/** What a name takes in a list. */
function placeBytes(plus: boolean, nameBytes: number): number {
  return Math.ceil(((plus ? ENTRY_BYTES : 0) + DIRENT_BYTES + nameBytes) / 8) * 8;
}
