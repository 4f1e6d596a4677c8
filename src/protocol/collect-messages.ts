import { z } from 'zod';
import { idSchema } from './records.js';

/** Messages of the collection of what is nobody's: docs/garbage.md has the rules. */

const count = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);

/** Objects in one report of an OST. */
export const OBJECTS_PER_REPORT = 512;
/** Ids that one answer names of those that nobody knows. */
export const UNKNOWN_TOLD = 1000;

export const MDS_COLLECT_METHODS = {
  /**
   * From an OST: objects that it keeps something of, each with the highest epoch that it knows of it. Answers which of them are surely
   * not needed there: `removed` ones, by record of their removal, and those that live elsewhere (`left`); the OST is told to delete
   * them by its next `mds.registerOst`. `unknown` ones this MDS has no record of: they stay.
   */
  'mds.reportObjects': {
    params: z.object({
      ostId: idSchema,
      objects: z.array(z.object({ id: idSchema, epoch: count })).max(OBJECTS_PER_REPORT),
      /** Only says so. */
      dryRun: z.boolean(),
    }),
    result: z.object({
      removed: z.array(idSchema),
      left: z.array(idSchema),
      unknown: z.array(idSchema),
    }),
  },
} as const;

export const OST_COLLECT_METHODS = {
  /** Looks now for what is nobody's, as the OST does by itself every few minutes. UNAVAILABLE: it has no MDS to ask. */
  'ost.collect': {
    params: z.object({ dryRun: z.boolean() }),
    result: z.object({
      objects: count,
      removed: z.array(idSchema).max(UNKNOWN_TOLD),
      left: z.array(idSchema).max(UNKNOWN_TOLD),
      unknown: z.array(idSchema).max(UNKNOWN_TOLD),
      /** Chunks of versions that their objects had once. */
      strayChunks: count,
      /** Directories of objects that were deleted, there again since a power loss. */
      strayObjects: count,
    }),
  },
} as const;
