import { RawstorError } from '../common/errors.js';
import type { ChunkMap } from '../protocol/index.js';
import { type AllocationSpec, allocate } from './allocate.js';
import type { Osts } from './osts.js';

/**
 * Chooses the OSTs of a new object, see `allocate`. An MDS that has just started has not heard of all its OSTs yet: what cannot
 * be placed then is tried again when they are back.
 * @throws RawstorError UNSATISFIABLE
 */
export async function place(spec: AllocationSpec, osts: Osts, objectId: string): Promise<ChunkMap> {
  try {
    return allocate(spec, osts.candidates(), objectId);
  } catch (error) {
    const isLacking = error instanceof RawstorError && error.code === 'UNSATISFIABLE';
    if (!isLacking || osts.allBack) throw error;
  }
  await osts.untilBack();
  return allocate(spec, osts.candidates(), objectId);
}
