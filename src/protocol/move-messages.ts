import { z } from 'zod';
import { LIMITS } from '../common/limits.js';
import { objectInfoSchema } from './object-info.js';
import { idSchema, wantedMoveSchema } from './records.js';

/** Methods of the MDS about moving objects from OST to OST, and about the coming and going of OSTs. */

const epoch = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);
const nothing = z.object({});

export const MOVE_METHODS = {
  /** The OST has deleted its copies of these, or keeps them for a later session. */
  'mds.confirmLeft': {
    params: z.object({ ostId: idSchema, objects: z.array(idSchema) }),
    result: nothing,
  },
  /** A draining OST gets nothing new. */
  'mds.setOst': { params: z.object({ ostId: idSchema, draining: z.boolean() }), result: nothing },
  /** Forgets an OST for good; BUSY while an object is on it. */
  /** `lost`: it does not come back; what is kept only for it goes. */
  'mds.removeOst': {
    params: z.object({ ostId: idSchema, lost: z.boolean().optional() }),
    result: nothing,
  },
  /** Objects that have something on an OST, or are to get something there, by name; an empty list is the end. */
  'mds.objectsOn': {
    params: z.object({
      ostId: idSchema,
      after: z.string().max(LIMITS.nameBytes),
      limit: z.number().int().min(1).max(1000),
    }),
    result: z.object({ objects: z.array(objectInfoSchema) }),
  },
  /**
   * Asks the writer of an object, present or next, to move what is on `from` to `to`, or (null) to an OST chosen
   * by the rules of allocation; `from` null: to let the pool grow by `to`. A wish that is there already stays
   * unless its OST cannot take it any more.
   */
  'mds.move': {
    params: z.object({
      id: idSchema,
      from: idSchema.nullable(),
      to: idSchema.nullable(),
      dryRun: z.boolean(),
    }),
    result: z.object({ wanted: wantedMoveSchema }),
  },
  /** Takes a wish back. */
  'mds.cancelMove': { params: z.object({ id: idSchema }), result: nothing },
  /** From the writer: every in-sync OST has stored the present map, and these are not attached any more. */
  'mds.moveStored': {
    params: z.object({ id: idSchema, sessionEpoch: epoch, ostIds: z.array(idSchema).max(64) }),
    result: nothing,
  },
  /**
   * Goes on without an OST that has the only complete copy of something, with what others have of it, or nothing:
   * the loss is on record. BUSY while somebody has the object open.
   */
  'mds.giveUpCopy': { params: z.object({ id: idSchema, ostId: idSchema }), result: nothing },
} as const;
