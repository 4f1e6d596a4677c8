import { z } from 'zod';
import { LIMITS } from '../common/limits.js';
import { encryptionSchema } from './encryption.js';
import { fileFactsSchema, idSchema, nameSchema, objectRecordSchema, wantedMoveSchema } from './records.js';

/** An object as the MDS tells of it: its record, and what changes without an epoch. */

const count = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);

export const leaseSchema = z.object({
  holder: z.string().max(255),
  sessionEpoch: count,
  sinceWallMs: z.number(),
});
export type Lease = z.infer<typeof leaseSchema>;

/** What is still to be copied to one OST of an object, as its holder told last. */
export const recoveryProgressSchema = z.object({
  ostId: idSchema,
  regionsTotal: count,
  regionsDone: count,
  copiedBytes: count,
});
export type RecoveryProgress = z.infer<typeof recoveryProgressSchema>;

export const objectInfoSchema = objectRecordSchema.extend({
  clean: z.boolean(),
  /** Wall time of a loss that nobody has acknowledged yet (I8), else null. */
  lossWallMs: z.number().nullable(),
  lease: leaseSchema.nullable(),
  /** Of the latest open for write, 0 before the first. */
  sessionEpoch: count,
  wanted: wantedMoveSchema.nullable(),
  /** OSTs that may hold copies which are no longer the object's, not yet told to delete them. */
  left: z.array(idSchema),
  recovery: z.array(recoveryProgressSchema),
});
export type ObjectInfo = z.infer<typeof objectInfoSchema>;

/** What an object is created by. */
export const createSpecSchema = z.object({
  name: nameSchema,
  sizeBytes: count.max(LIMITS.volumeSizeBytes),
  chunkSizeBytes: count,
  replicas: z.number().int(),
  minReplicas: z.number().int(),
  stripeWidth: z.union([z.number().int(), z.literal('all')]),
  failureDomain: z.string().max(64),
  /** Host label that the first replica should be on, null for no wish. */
  near: z.string().max(255).nullable(),
  onDegraded: z.enum(['pause', 'error']),
  /** `mutable`, a volume, unless said otherwise. */
  mode: z.enum(['mutable', 'immutable']).optional(),
  /** Of one that is made as a file: it may have fewer bytes than the volume. */
  file: fileFactsSchema.optional(),
  encryption: encryptionSchema.optional(),
});
export type CreateSpec = z.infer<typeof createSpecSchema>;
