import { RawstorError } from '../common/errors.js';
import { type ChunkMap, mayTakeReserve } from '../protocol/index.js';
import { type AllocationSpec, allocate } from './allocate.js';
import type { Osts } from './osts.js';

/**
 * Chooses the OSTs of a new object, see `allocate`, and has it made. An MDS that has just started has not heard of all its OSTs
 * yet: what cannot be placed then is tried again when they are back.
 * @param make called in the turn of the choice, and asks the store in that turn: then what is on record when an OST has been
 * marked is all that will be placed there
 * @throws RawstorError UNSATISFIABLE
 */
export async function place<T>(
  wanted: AllocationSpec & Parameters<typeof mayTakeReserve>[0],
  osts: Osts,
  objectId: string,
  make: (map: ChunkMap) => Promise<T>,
): Promise<T> {
  const spec = { ...wanted, anyRoom: mayTakeReserve(wanted) };
  let map: ChunkMap;
  try {
    map = allocate(spec, osts.candidates(), objectId);
  } catch (error) {
    const isLacking = error instanceof RawstorError && error.code === 'UNSATISFIABLE';
    if (!isLacking || osts.allBack) throw error;
    await osts.untilBack();
    map = allocate(spec, osts.candidates(), objectId);
  }
  return make(map);
}
