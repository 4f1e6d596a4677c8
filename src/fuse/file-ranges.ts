import { type BlockDevice, BlockFlag, BlockOp } from '../block/index.js';
import type { BufferPool, PoolBuffer } from '../io/pool.js';
import { transfer, writeZeroes } from './device-call.js';
import { sectorCeil, sectorFloor } from './sectors.js';

/** What is done with ranges of a file that need not begin or end at a sector. The caller keeps others away from these sectors. */

/** Waits for memory. */
export async function acquired(pool: BufferPool, sizeBytes: number): Promise<PoolBuffer> {
  for (;;) {
    const buffer = pool.acquire(sizeBytes);
    if (buffer !== null) return buffer;
    await new Promise<void>((resolve) => pool.whenFree(resolve));
  }
}

/** Zeroes the range and gives its space back. @throws RawstorError of the device */
export async function zeroRange(
  device: BlockDevice,
  pool: BufferPool,
  from: number,
  to: number,
): Promise<void> {
  if (from >= to) return;
  const first = sectorCeil(from);
  const last = sectorFloor(to);
  if (first > last) return zeroWithin(device, pool, from, to);
  if (from < first) await zeroWithin(device, pool, from, first);
  if (first < last) await writeZeroes(device, first, last - first, BlockFlag.MAY_UNMAP);
  if (last < to) await zeroWithin(device, pool, last, to);
}

/** A part of one sector. */
async function zeroWithin(device: BlockDevice, pool: BufferPool, from: number, to: number): Promise<void> {
  const sector = sectorFloor(from);
  const length = sectorCeil(to) - sector;
  const buffer = await acquired(pool, length);
  try {
    await transfer(device, BlockOp.READ, sector, buffer.memory, buffer.offset, length);
    const at = buffer.offset - sector;
    buffer.memory.bytes.fill(0, at + from, at + to);
    await transfer(device, BlockOp.WRITE, sector, buffer.memory, buffer.offset, length);
  } finally {
    buffer.release();
  }
}

/**
 * Has every hole of the range take its space: zeros are written there. What the device has lost meanwhile, made smaller by others, is
 * left out. @throws RawstorError NO_SPACE ...
 */
export async function allocateRange(device: BlockDevice, from: number, to: number): Promise<void> {
  const end = sectorCeil(to);
  for (let at = sectorFloor(from); at < end; ) {
    const extents = await device.extents(at, end - at);
    // Behind the end there is nothing.
    if (extents.length === 0) return;
    for (const extent of extents) {
      if (extent.hole) await writeZeroes(device, at, extent.lengthBytes, 0);
      at += extent.lengthBytes;
    }
  }
}

/**
 * Where the next data, or the next hole, begins at or behind `offset`; behind the end is a hole. Null where there is no data any more.
 * @throws RawstorError of the device
 */
export async function seek(
  device: BlockDevice,
  fileBytes: number,
  offset: number,
  wanted: 'data' | 'hole',
): Promise<number | null> {
  // Others may make the device smaller meanwhile.
  const end = () => Math.min(sectorCeil(fileBytes), device.sizeBytes);
  for (let at = sectorFloor(offset); at < end(); ) {
    const extents = await device.extents(at, end() - at);
    if (extents.length === 0) break;
    for (const extent of extents) {
      if (extent.hole === (wanted === 'hole')) {
        const found = Math.max(offset, at);
        return found < fileBytes ? found : wanted === 'hole' ? fileBytes : null;
      }
      at += extent.lengthBytes;
    }
  }
  return wanted === 'hole' ? fileBytes : null;
}
