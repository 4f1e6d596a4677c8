import { z } from 'zod';
import { addressSchema, labelsSchema } from './records.js';

/** Control messages of the management server. */

const count = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);
const nothing = z.object({});

/** Of volumes that are mounted as files: where, and what was done there since. */
export const mountInfoSchema = z.object({
  directory: z.string().max(4096),
  openFiles: count,
  inFlight: count,
  readBytes: count,
  writtenBytes: count,
  errors: count,
  interrupted: count,
});

/** A server as the MGS knows it. */
export const serverInfoSchema = z.object({
  role: z.enum(['ost', 'mds', 'nbd', 'mount']),
  id: z.string().max(64),
  addresses: z.array(addressSchema).max(8),
  labels: labelsSchema,
  capacityBytes: count,
  freeBytes: count,
  /** Of an OST: blocks known to be damaged there. */
  damagedBlocks: count.optional(),
  /** Longest time its event loop was held up; absent: not told. */
  loopStallMaxMs: z.number().nonnegative().optional(),
  /** What it waits for before it serves, for people; absent: it serves. */
  waitsFor: z.string().max(64).optional(),
  mount: mountInfoSchema.optional(),
});
export type ServerInfo = z.infer<typeof serverInfoSchema>;

/** Methods the MGS answers. */
export const MGS_METHODS = {
  'mgs.register': { params: serverInfoSchema, result: z.object({ clusterId: z.string() }) },
  /** It has ended in order, or was removed: nobody has to look for it. */
  'mgs.leave': { params: serverInfoSchema.pick({ role: true, id: true }), result: nothing },
  'mgs.cluster': {
    params: nothing,
    result: z.object({
      clusterId: z.string(),
      servers: z.array(
        serverInfoSchema.extend({ health: z.enum(['up', 'late', 'down']), lastSeenWallMs: z.number() }),
      ),
    }),
  },
} as const;
