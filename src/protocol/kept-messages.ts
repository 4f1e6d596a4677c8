import { z } from 'zod';
import { idSchema, keptObjectSchema, objectRecordSchema } from './records.js';

/** The longest key of the store, of which `next` may be one. */
const STORE_KEY_CHARACTERS = 2048;

/** Messages by which the metadata outlives its server (I13). */

export const KEPT_METHODS = {
  /** From creation on each OST has the record (I13): durable before the answer, fences nobody. */
  'ost.keepObject': {
    params: z.object({ object: objectRecordSchema }),
    /** `lacksParent`: as of `ost.attach`. */
    result: z.object({ lacksParent: z.boolean().optional() }),
  },
  /** All that is kept here of objects, removed ones included, by id, for who rebuilds the metadata (I13). */
  'ost.objects': {
    params: z.object({ after: idSchema.nullable() }),
    result: z.object({ objects: z.array(keptObjectSchema), next: idSchema.nullable() }),
  },
} as const;

export const DUMP_METHODS = {
  /** Lines of a dump (docs/formats-mds.md), a page at a time; `after` '' for the first. */
  'mds.dump': {
    params: z.object({ after: z.string().max(STORE_KEY_CHARACTERS) }),
    result: z.object({ lines: z.array(z.string()), next: z.string().nullable() }),
  },
} as const;
