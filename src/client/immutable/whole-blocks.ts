import { LIMITS } from '../../common/limits.js';

/** How long the object of a content is at least. */
export const wholeBlocks = (bytes: number): number =>
  Math.ceil(bytes / LIMITS.blockBytes) * LIMITS.blockBytes;
