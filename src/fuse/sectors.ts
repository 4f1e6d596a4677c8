import { LIMITS } from '../common/limits.js';

/** Files end anywhere, devices have sectors. */
const SECTOR = LIMITS.sectorBytes;

export function sectorFloor(offset: number): number {
  return offset - (offset % SECTOR);
}

export function sectorCeil(offset: number): number {
  return Math.ceil(offset / SECTOR) * SECTOR;
}

/** The smallest volume that a file of that many bytes fits into. */
export function volumeBytes(fileBytes: number): number {
  return Math.max(SECTOR, sectorCeil(fileBytes));
}

/** How far a volume grows at once under a file that is written past its end. */
const STEP_MIN_BYTES = 64 * 1024 * 1024;
const STEP_PART = 1 / 8;

/**
 * The size that a volume gets when a file in it reaches `fileBytes`: whole chunks, and some more, so that a file that is written from
 * front to end grows seldom. What is too much is given back when it is closed; it takes no space meanwhile.
 */
export function grownBytes(fileBytes: number, chunkSizeBytes: number): number {
  const wanted = fileBytes + Math.max(STEP_MIN_BYTES, fileBytes * STEP_PART);
  const whole = Math.ceil(wanted / chunkSizeBytes) * chunkSizeBytes;
  const chunksMax = LIMITS.chunksPerObject * chunkSizeBytes;
  return Math.max(volumeBytes(fileBytes), Math.min(whole, chunksMax, LIMITS.volumeSizeBytes));
}
