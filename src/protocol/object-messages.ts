import { z } from 'zod';
import { LIMITS } from '../common/limits.js';
import { createSpecSchema, objectInfoSchema } from './object-info.js';
import { idSchema, nameSchema } from './records.js';

/** Methods of the MDS by which people make, find, rename and remove objects. */

const count = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);
const nothing = z.object({});
/**
 * A session of which the asker found no writer at the OSTs. One that was not closed is BUSY without that, also when its lease has lapsed:
 * its writer may only be cut off from the MDS.
 */
const unseenSession = count;

/** By name or by id. */
export const objectRef = z.object({ ref: z.string().min(1).max(LIMITS.nameBytes) });

export const OBJECT_METHODS = {
  'mds.createObject': { params: createSpecSchema, result: objectInfoSchema },
  'mds.getObj': { params: objectRef, result: objectInfoSchema },
  /** Placement of some chunks, first replica first. */
  'mds.getObjPart': {
    params: objectRef.extend({ fromChunk: count, count: z.number().int().min(1).max(65536) }),
    result: z.object({ chunks: z.array(z.array(idSchema)) }),
  },
  'mds.list': {
    params: z.object({ after: z.string().max(LIMITS.nameBytes), limit: z.number().int().min(1).max(1000) }),
    result: z.object({ objects: z.array(objectInfoSchema) }),
  },
  /** BUSY while it is not closed, EXISTS when the name is taken. `replaces`: an object that has the name, and that is removed in the same step, as `mds.remove` does without force. */
  'mds.rename': {
    params: objectRef.extend({
      name: nameSchema,
      replaces: idSchema.optional(),
      /** Of what is replaced. */
      unseenSession: unseenSession.optional(),
    }),
    result: objectInfoSchema,
  },
  /** Refused while somebody may write to it, unless forced. */
  'mds.remove': {
    params: objectRef.extend({ force: z.boolean(), unseenSession: unseenSession.optional() }),
    result: nothing,
  },
  /** Somebody has seen that acknowledged data was lost. */
  'mds.acknowledgeLoss': { params: objectRef, result: nothing },
} as const;
