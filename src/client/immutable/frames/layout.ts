import { KiB } from '../../../common/units.js';

/**
 * A stream of frames: 16 bytes of header, an entry of 8 bytes for each frame, the frames. All little endian; docs/s3.md, "Frames". An entry says
 * where its frame ends, so that any frame is found by two entries, however long the stream is.
 */

const MAGIC = 0x31465352; // RSF1
export const HEADER_BYTES = 16;
export const ENTRY_BYTES = 8;
/** What is compressed, and sealed, by itself: what a read of any byte of it costs. */
export const FRAME_BYTES = 128 * KiB;
/** Of the seal of a frame. */
export const TAG_BYTES = 16;

export const frameCount = (plainBytes: number, frameBytes = FRAME_BYTES) =>
  Math.ceil(plainBytes / frameBytes);
export const indexBytes = (frames: number) => HEADER_BYTES + frames * ENTRY_BYTES;

/** A stream of so much content is never longer. */
export function streamMaxBytes(plainBytes: number): number {
  const frames = frameCount(plainBytes);
  return indexBytes(frames) + plainBytes + frames * TAG_BYTES;
}

export interface FrameEntry {
  /** Where the frame ends in the stream. */
  readonly end: number;
  readonly method: number;
}

/** Header and entries, at the start of `bytes`. */
export function putIndex(bytes: Buffer, plainBytes: number, entries: readonly FrameEntry[]): void {
  bytes.writeUInt32LE(MAGIC, 0);
  bytes.writeUInt32LE(FRAME_BYTES, 4);
  bytes.writeBigUInt64LE(BigInt(plainBytes), 8);
  entries.forEach(({ end, method }, i) => {
    const at = HEADER_BYTES + i * ENTRY_BYTES;
    bytes.writeUIntLE(end, at, 6);
    bytes.writeUInt16LE(method, at + 6);
  });
}

export function isHeader(bytes: Buffer, plainBytes: number, frameBytes: number): boolean {
  return (
    bytes.readUInt32LE(0) === MAGIC &&
    bytes.readUInt32LE(4) === frameBytes &&
    bytes.readBigUInt64LE(8) === BigInt(plainBytes)
  );
}

export function entryAt(bytes: Buffer, at: number): FrameEntry {
  return { end: bytes.readUIntLE(at, 6), method: bytes.readUInt16LE(at + 6) };
}
