import { asRawstorError, type RawstorError } from '../common/errors.js';

/**
 * Removes each of the objects that an MDS wants removed. One that cannot be keeps no other from it, and comes with the next answer; one
 * that a clone lies over is tried again when others have gone, that clone perhaps.
 * @returns those that are gone
 */
export async function removeEach(
  ids: readonly string[],
  remove: (id: string) => Promise<void>,
  failed: (id: string, error: RawstorError) => void = () => {},
): Promise<string[]> {
  const gone: string[] = [];
  let waiting = [...ids];
  for (;;) {
    const refused: { id: string; error: RawstorError }[] = [];
    for (const id of waiting) {
      try {
        await remove(id);
        gone.push(id);
      } catch (thrown) {
        const error = asRawstorError(thrown);
        if (error.code === 'BUSY') refused.push({ id, error });
        else failed(id, error);
      }
    }
    const isOver = refused.length === 0 || refused.length === waiting.length;
    waiting = refused.map(({ id }) => id);
    if (!isOver) continue;
    for (const { id, error } of refused) failed(id, error);
    return gone;
  }
}
