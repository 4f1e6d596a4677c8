import { z } from 'zod';
import { LIMITS } from '../common/limits.js';
import { idSchema } from './records.js';

/** What an OST is asked about the checksums of what it stores. */

const count = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);
const sum = z.number().int().nonnegative().max(0xffffffff);
const nothing = z.object({});

const scrubJobSchema = z.object({
  objectId: idSchema.nullable(),
  running: z.boolean(),
  totalBytes: count,
  /** Of those; also what is holes or has no checksums. */
  doneBytes: count,
  checkedBytes: count,
  badBlocks: count,
  /** Regions without checksums: written since the last seal. */
  unsealedRegions: count,
  /** Why it ended early, '' where it did not. */
  failure: z.string(),
});
export type ScrubJob = z.infer<typeof scrubJobSchema>;

/** Of the checksums an OST keeps; totals since its start. Null where they are off. */
export const integritySchema = z.object({
  damagedBlocks: count,
  foundTotal: count,
  repairedTotal: count,
  /** When the last scrub of everything ended; null for never. */
  scrubbedWallMs: z.number().nullable(),
});

export const INTEGRITY_METHODS = {
  /** Blocks known to be damaged here, of one object or (null) of all, and totals since the start. */
  'ost.damage': {
    params: z.object({ objectId: idSchema.nullable() }),
    result: z.object({
      blocks: z
        .array(
          z.object({
            objectId: idSchema,
            chunk: count,
            chunkVersion: count,
            offset: count,
            /** Checksum of what was written, null or absent where that is not known. */
            sum: sum.nullish(),
          }),
        )
        .max(LIMITS.damagedBlocks),
      foundTotal: count,
      repairedTotal: count,
    }),
  },
  /**
   * Of a block of 4 KiB of one version, frozen ones too, that no replica can give: from the answer on it is not read
   * here, on record, until it is written as a whole. Unless what is stored here has the checksum `sum`: then it is what was written, and stays.
   */
  'ost.setDamaged': {
    params: z.object({
      handle: z.number().int().positive().max(0xffffffff),
      chunk: count,
      chunkVersion: count,
      offset: count,
      /** The writer's: a change like any other. */
      tag: count,
      sum: sum.nullable(),
    }),
    /** False where the block here is right. */
    result: z.object({ damaged: z.boolean() }),
  },
  /** Begins to verify the checksums of an object or (null) of all; BUSY while such a scrub runs. */
  'ost.scrub': {
    params: z.object({ objectId: idSchema.nullable(), bytesPerSec: count.min(LIMITS.scrubBytesPerSecMin) }),
    result: nothing,
  },
  /** The scrub begun last by `ost.scrub`; null when there was none since the start. */
  'ost.scrubStatus': { params: nothing, result: z.object({ job: scrubJobSchema.nullable() }) },
  'ost.scrubCancel': { params: nothing, result: nothing },
} as const;

/** Tells the writer of an object that blocks of it are damaged on the OST; it asks `ost.damage` which. */
export const EVENT_DAMAGED = 'ost.damaged';
