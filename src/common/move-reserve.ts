import { GiB } from './units.js';

/**
 * Free space that copies to a new member leave: recovery is not to take from guests of other volumes what they grow by. A twentieth of the
 * disk, at most 64 GiB.
 */
export function moveReserveBytes(capacityBytes: number): number {
  return Math.min(64 * GiB, Math.floor(capacityBytes / 20));
}
