import { z } from 'zod';
import { LIMITS } from '../common/limits.js';
import { reachOf } from '../common/whole-copies.js';
import { encryptionSchema } from './encryption.js';

/** Shapes that several servers keep and send: object records, maps, members. Checked wherever they enter. */

const count = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);
export const idSchema = z.string().regex(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
export const addressSchema = z
  .string()
  .max(512)
  .regex(/^(tcp:\/\/.+:\d+|unix:\/.+)$/);
export const labelsSchema = z.record(z.string().max(64), z.string().max(255));
export const nameSchema = z
  .string()
  .min(1)
  .max(LIMITS.nameBytes)
  .regex(/^[A-Za-z0-9_][A-Za-z0-9_.:+-]*$/);

/** Of a snapshot of one volume: `VOLUME@NAME`. */
export const snapshotNameSchema = nameSchema;

/** Tells a restart of a process (page cache kept) from a loss: I8. `generation` rises at every known loss. */
export const bootIdSchema = z.object({ kernel: z.string().max(64), generation: count });
export type BootId = z.infer<typeof bootIdSchema>;

export function sameBootId(a: BootId | null, b: BootId | null): boolean {
  return a !== null && b !== null && a.kernel === b.kernel && a.generation === b.generation;
}

/**
 * Where an object's chunks are, by rule. `pool` are the OSTs it may use with the weight they had at creation
 * (free bytes) and their failure domain. `fixed`: every chunk on the pool's OSTs in the order given (stripe
 * width 1); `hash`: weighted rendezvous per chunk. `first` is put first where it holds a replica; exceptions
 * override single chunks. An OST that took the place of another draws as that one did (`drawAs`), so that only
 * that one's chunks moved.
 */
export const chunkMapSchema = z.object({
  rule: z.enum(['fixed', 'hash']),
  pool: z
    .array(
      z.object({
        ostId: idSchema,
        weight: z.number().positive(),
        domain: z.string().max(255),
        drawAs: idSchema.optional(),
      }),
    )
    .max(LIMITS.poolMembers),
  /** Domain whose OSTs come first among the replicas, '' for none. */
  nearDomain: z.string().max(255),
  exceptions: z.array(z.object({ chunk: count, ostIds: z.array(idSchema).max(LIMITS.replicas) })),
});
export type ChunkMap = z.infer<typeof chunkMapSchema>;

/** One OST's part in an object: in the in-sync set or stale since an epoch (last seal + 1 at its drop). */
export const memberSchema = z.object({
  ostId: idSchema,
  state: z.enum(['in-sync', 'stale']),
  /** Boot id under which it was attached; null before the first attach. */
  bootId: bootIdSchema.nullable(),
  /** Regions newer than or equal to this may differ; 0 while in sync. */
  staleSince: count,
  /**
   * It has durably kept a set of this epoch, or of a later one. One that comes back without was put back from an older copy: all of it may
   * differ. Absent: nothing is known.
   */
  keptEpoch: count.optional(),
});
export type Member = z.infer<typeof memberSchema>;

/** A change of an object's map that its writer is asked to carry out: the new OST gets its copies, then the map is taken. */
export const wantedMoveSchema = z.object({
  /** Of this wish; one that was given up is never taken. */
  id: z.string().min(1).max(64),
  /** OST whose place is taken, null where the pool grows. */
  from: idSchema.nullable(),
  to: idSchema,
  map: chunkMapSchema,
  sinceWallMs: z.number(),
});
export type WantedMove = z.infer<typeof wantedMoveSchema>;

/** The snapshot that one is a copy of, made by an imported difference: of another volume, perhaps of another cluster. */
export const snapshotOriginSchema = z.object({ objectId: idSchema, version: z.number().int().min(1) });
export type SnapshotOrigin = z.infer<typeof snapshotOriginSchema>;

/**
 * A version that is written no more: a snapshot, or, without a name, one of a snapshot that was removed and whose data
 * is still needed by what lies over it.
 */
export const snapshotSchema = z.object({
  /** Of this object; never used twice. */
  version: z.number().int().min(1),
  /** The version it lies over, 0: none of this object. */
  over: count,
  name: snapshotNameSchema.nullable(),
  /** Of the volume when it was taken. */
  sizeBytes: count.max(LIMITS.volumeSizeBytes),
  /** Of the volume as a file, where it was less. */
  fileBytes: count.max(LIMITS.volumeSizeBytes).optional(),
  createdWallMs: z.number(),
  /** Not removed before that is taken back. */
  protected: z.boolean(),
  origin: snapshotOriginSchema.optional(),
  /** Of one that is still being frozen: the head lies over it already, and it gets this name with its seal (I11). */
  pendingName: snapshotNameSchema.optional(),
});
export type Snapshot = z.infer<typeof snapshotSchema>;

/** What a clone's oldest version lies over. */
export const parentSchema = z.object({
  objectId: idSchema,
  version: z.number().int().min(1),
  /** `VOLUME@SNAP` when the clone was made: for people. */
  name: z.string().max(2 * LIMITS.nameBytes + 1),
  /**
   * OSTs whose copy of the parent is the clone's too. On others, which came later or were not in sync when it was made, the clone has
   * all it needs by itself.
   */
  ostIds: z.array(idSchema).max(LIMITS.poolMembers),
  /**
   * Epoch of the parent's set that each of these was known to keep when the clone was made: one that keeps an older one, and has not heard of
   * the clone, was put back from a copy of before. Absent of one: nothing is known.
   */
  keptEpochs: z.record(idSchema, count).optional(),
  /** Of the parent's version: what is behind reads as zeros. */
  sizeBytes: count.max(LIMITS.volumeSizeBytes),
});
export type Parent = z.infer<typeof parentSchema>;

/** A volume as a file: how much of it is the file, whose last bytes need be no whole sector, and when it was last changed. */
export const fileFactsSchema = z.object({
  sizeBytes: count.max(LIMITS.volumeSizeBytes),
  modifiedWallMs: z.number(),
});
export type FileFacts = z.infer<typeof fileFactsSchema>;

/** What every OST of an object also holds, so that the map can be rebuilt from them: I13. */
export const objectRecordSchema = z.object({
  id: idSchema,
  name: nameSchema,
  mode: z.enum(['mutable', 'immutable']),
  sizeBytes: count.max(LIMITS.volumeSizeBytes),
  chunkSizeBytes: count.min(LIMITS.chunkSizeMinBytes).max(LIMITS.chunkSizeMaxBytes),
  replicas: z.number().int().min(1).max(LIMITS.replicas),
  minReplicas: z.number().int().min(1).max(LIMITS.replicas),
  stripeWidth: z.union([z.number().int().min(1), z.literal('all')]),
  failureDomain: z.string().max(64),
  onDegraded: z.enum(['pause', 'error']),
  /** The version that is written; the highest there ever was. */
  headVersion: z.number().int().min(1),
  /** The version it lies over, 0: none of this object. */
  headOver: count.default(0),
  /** By version, rising. */
  snapshots: z.array(snapshotSchema).max(LIMITS.snapshotsPerVolume).default([]),
  parent: parentSchema.nullable().default(null),
  /** Of a clone: chunks are placed as those of this object, on whose OSTs it began; absent: by its own id. */
  placeAs: idSchema.optional(),
  map: chunkMapSchema,
  /** Epoch of the last change the MDS recorded. */
  epoch: count,
  /** Every member is identical up to this epoch. */
  lastSeal: count,
  /** Epoch of the last change that recorded a loss: what was copied before may be older or newer than the rest. */
  lossEpoch: count.optional(),
  /** Up to here there may still be something behind the end: what was cut off and is not erased yet. */
  tailBytes: count.optional(),
  /** The largest size it ever had: no chunk up to there is left without a replica in sync. Absent: the present one. */
  reachBytes: count.optional(),
  /** Null or absent: the file is the whole of it, as it was made. */
  file: fileFactsSchema.nullable().optional(),
  members: z.array(memberSchema).max(LIMITS.poolMembers),
  createdWallMs: z.number(),
  /** Absent: its data lies as it was written. A clone has its parent's. */
  encryption: encryptionSchema.optional(),
});
export type ObjectRecord = z.infer<typeof objectRecordSchema>;

/** A clone's parent after a change of the map: what has no place in it any more does not hold the parent for it either. */
export function parentOn(parent: Parent | null, map: ChunkMap): Parent | null {
  if (parent === null) return null;
  const ostIds = parent.ostIds.filter((ostId) => map.pool.some((target) => target.ostId === ostId));
  return ostIds.length === parent.ostIds.length ? parent : { ...parent, ostIds };
}

/** One that does not share the copies of the parent on these OSTs: what shows of it they have by themselves, or are brought. */
export function parentWithout(parent: Parent | null, ostIds: readonly string[]): Parent | null {
  if (parent === null || !parent.ostIds.some((ostId) => ostIds.includes(ostId))) return parent;
  return { ...parent, ostIds: parent.ostIds.filter((ostId) => !ostIds.includes(ostId)) };
}

/** What a change of versions or of the size changes. */
export const objectVersionsSchema = objectRecordSchema.pick({
  headVersion: true,
  headOver: true,
  snapshots: true,
  parent: true,
  sizeBytes: true,
  tailBytes: true,
  reachBytes: true,
  file: true,
  encryption: true,
});
export type ObjectVersions = z.infer<typeof objectVersionsSchema>;

export function versionsOf(record: ObjectVersions): ObjectVersions {
  const {
    headVersion,
    headOver,
    snapshots,
    parent,
    sizeBytes,
    tailBytes = 0,
    file = null,
    encryption,
  } = record;
  const reachBytes = reachOf(record);
  const versions = { headVersion, headOver, snapshots, parent, sizeBytes, tailBytes, reachBytes, file };
  return encryption === undefined ? versions : { ...versions, encryption };
}

/** [ost id, boot id] pairs of a set and the epoch that made it: what survivors store before acks go out (I6). */
export const storedSetSchema = z.object({
  epoch: count,
  members: z.array(memberSchema).max(LIMITS.poolMembers),
  /**
   * OSTs that may have joined since: stored before a join is asked for, so that who does not hear of it any more knows
   * that a newer set may be without it (I13).
   */
  joining: z.array(idSchema).max(LIMITS.poolMembers).optional(),
  /** As they were with the set: a rebuilt MDS may know older ones (I13). */
  versions: objectVersionsSchema.optional(),
});
export type StoredSet = z.infer<typeof storedSetSchema>;

/** All that one OST knows of one object: what the metadata is rebuilt from (I13). */
export const keptObjectSchema = z.object({
  id: idSchema,
  /** When its removal began here, else null; of a removed object nothing else is told. */
  removedWallMs: z.number().nullable(),
  record: objectRecordSchema.nullable(),
  set: storedSetSchema.nullable(),
  /** As stored with the set. */
  lastSeal: count,
  lossWallMs: z.number().nullable(),
  fence: z.object({ sessionEpoch: count, sessionNumber: count }).nullable(),
  /** Highest epoch of any region here. */
  regionEpoch: count,
});
export type KeptObject = z.infer<typeof keptObjectSchema>;

/** An OST as the MDS and the MGS know it. */
export const ostInfoSchema = z.object({
  ostId: idSchema,
  addresses: z.array(addressSchema).min(1).max(8),
  labels: labelsSchema,
  capacityBytes: count,
  freeBytes: count,
  bootId: bootIdSchema,
  /** Blocks known to be damaged there. */
  damagedBlocks: count.optional(),
  /** Found and repaired there since its start. */
  foundBlocks: count.optional(),
  repairedBlocks: count.optional(),
  /** As the MDS said last. */
  draining: z.boolean().optional(),
});
export type OstInfo = z.infer<typeof ostInfoSchema>;
