import { LIMITS } from '../common/limits.js';
import { Opcode } from '../protocol/frame.js';

/** How a range of an object falls on its chunks. Pure. */

/** Index of the chunk that holds byte `offset`. */
export function chunkOf(offset: number, chunkSizeBytes: number): number {
  return Math.floor(offset / chunkSizeBytes);
}

/** Bytes of `[offset, offset + length)` that lie in the chunk of `offset`, at most `limitBytes`. */
export function pieceLength(
  offset: number,
  length: number,
  chunkSizeBytes: number,
  limitBytes: number,
): number {
  const toChunkEnd = chunkSizeBytes - (offset % chunkSizeBytes);
  return Math.min(length, toChunkEnd, limitBytes);
}

export function chunkCount(sizeBytes: number, chunkSizeBytes: number): number {
  return Math.ceil(sizeBytes / chunkSizeBytes);
}

/** Bytes of the chunk that the object uses: the last one may be shorter. */
export function chunkLength(chunk: number, sizeBytes: number, chunkSizeBytes: number): number {
  return Math.min(chunkSizeBytes, sizeBytes - chunk * chunkSizeBytes);
}

/** Longest piece: a frame's payload, or a range for operations without one. */
export function pieceLimitBytes(opcode: number): number {
  return opcode === Opcode.READ || opcode === Opcode.WRITE ? LIMITS.framePayloadBytes : LIMITS.rangeBytes;
}
