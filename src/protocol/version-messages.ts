import { z } from 'zod';
import { LIMITS } from '../common/limits.js';
import { encryptionSchema } from './encryption.js';
import { objectInfoSchema } from './object-info.js';
import { objectRef } from './object-messages.js';
import {
  bootIdSchema,
  chunkMapSchema,
  fileFactsSchema,
  idSchema,
  memberSchema,
  nameSchema,
  type ObjectRecord,
  objectVersionsSchema,
  type Snapshot,
  snapshotNameSchema,
  snapshotOriginSchema,
} from './records.js';

/** Messages about versions: snapshots, clones, rollback, size. docs/snapshots.md has the rules. */

const count = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);
const handle = z.number().int().positive().max(0xffffffff);
const version = z.number().int().min(1).max(0xffffffff);

/** A change of an object's versions or size; carried out by its writer, recorded by one compare-and-swap. */
export const versionChangeSchema = z.discriminatedUnion('kind', [
  /** The head becomes a snapshot, and a new head lies over it. */
  z.object({
    kind: z.literal('snapshot'),
    name: snapshotNameSchema,
    origin: snapshotOriginSchema.optional(),
    /** The new head is recorded ahead: what was the head is written on until a cut, and is no snapshot before `sealed`. */
    ahead: z.boolean().optional(),
  }),
  /**
   * What was written to a version with a new head ahead of it is durable, and it is written no more: it is a snapshot. `file`: what it
   * is as a file, which may have grown since the new head was recorded.
   */
  z.object({ kind: z.literal('sealed'), version, file: fileFactsSchema.optional() }),
  /** It is written no more either, but no snapshot: it has no name. */
  z.object({ kind: z.literal('abandoned'), version }),
  /** A new head lies over `to`; the old one stays as the snapshot `keepAs`, or (null) without a name. */
  z.object({ kind: z.literal('rollback'), to: version, keepAs: snapshotNameSchema.nullable() }),
  z.object({ kind: z.literal('remove'), version }),
  z.object({ kind: z.literal('rename'), version, name: snapshotNameSchema }),
  z.object({ kind: z.literal('protect'), version, protected: z.boolean() }),
  /** `file`: what it is as a file then; absent: as such it is the whole of it. */
  z.object({
    kind: z.literal('resize'),
    sizeBytes: count.max(LIMITS.volumeSizeBytes),
    file: fileFactsSchema.optional(),
  }),
  /** Nothing but what it is as a file, which is no longer than the volume. */
  z.object({ kind: z.literal('file'), file: fileFactsSchema }),
  /** What a smaller size has cut off is erased on every OST in sync. */
  z.object({ kind: z.literal('trimmed') }),
  /** The data key is wrapped by another key, or passphrase. */
  z.object({ kind: z.literal('rekey'), encryption: encryptionSchema }),
  /** Every OST in sync has copied what the clone had of its parent. */
  z.object({ kind: z.literal('flattened') }),
  /** Nameless versions of which no OST of the object has anything left. */
  z.object({ kind: z.literal('forget'), versions: z.array(version).max(LIMITS.snapshotsPerVolume) }),
]);
export type VersionChange = z.infer<typeof versionChangeSchema>;

/** Whether it makes a new head: what was written before stays as it is from then on. */
export function makesHead(change: VersionChange): boolean {
  return change.kind === 'snapshot' || change.kind === 'rollback';
}

/** Whether it is a seal at the epoch that it expects: all with that tag or below is durable (I11). */
export function isSeal(change: VersionChange): boolean {
  return change.kind === 'sealed' || (makesHead(change) && !(change.kind === 'snapshot' && change.ahead));
}

/** The version below the head that is still written; null: only the head is. */
export function pendingOf({ snapshots }: Pick<ObjectRecord, 'snapshots'>): Snapshot | null {
  return snapshots.find((one) => one.pendingName !== undefined) ?? null;
}

/** Whether something that was cut off is still to be erased. */
export function hasTail({
  sizeBytes,
  tailBytes = 0,
}: Pick<ObjectRecord, 'sizeBytes' | 'tailBytes'>): boolean {
  return tailBytes > sizeBytes;
}

type Tree = Pick<ObjectRecord, 'headVersion' | 'headOver' | 'snapshots'>;

/** Versions that lie directly over one, the head last. */
export function versionsOver({ snapshots, headVersion, headOver }: Tree, version: number): number[] {
  const over = snapshots.filter((one) => one.over === version).map((one) => one.version);
  if (headOver === version) over.push(headVersion);
  return over;
}

/** Snapshots that a version lies over, oldest first, without removed ones. */
export function snapshotsBelow({ snapshots, headOver }: Tree, version: number | 'head'): Snapshot[] {
  const byVersion = new Map(snapshots.map((one) => [one.version, one]));
  const below: Snapshot[] = [];
  const first = version === 'head' ? headOver : (byVersion.get(version)?.over ?? 0);
  for (let at = byVersion.get(first); at !== undefined; at = byVersion.get(at.over)) {
    if (at.name !== null) below.unshift(at);
  }
  return below;
}

/** Removed, or frozen for nobody. */
export function isNameless({ name, pendingName }: Snapshot): boolean {
  return name === null && pendingName === undefined;
}

/** Nameless versions that OSTs delete, or merge into the version over them. */
export function mergeable(tree: Tree): number[] {
  const nameless = tree.snapshots.filter(isNameless);
  return nameless.map((one) => one.version).filter((version) => versionsOver(tree, version).length <= 1);
}

/** What the holder of an object is asked to do. */
export const askedChangeSchema = z.object({ id: z.string().min(1).max(64), change: versionChangeSchema });
export type AskedChange = z.infer<typeof askedChangeSchema>;

const childSchema = z.object({ id: idSchema, name: nameSchema, version });

export const MDS_VERSION_METHODS = {
  /**
   * From the writer, by compare-and-swap on the epoch like `mds.changeMembers`. With a new head it is a seal too: no write
   * tagged with `expectedEpoch` or below is on its way, all are durable.
   */
  'mds.changeVersions': {
    params: z.object({
      id: idSchema,
      sessionEpoch: count,
      expectedEpoch: count,
      requestId: z.string().min(1).max(64),
      change: versionChangeSchema,
      /** The wish that this answers; NOT_FOUND when nobody waits for it any more. */
      askedId: z.string().max(64).optional(),
      /** Of whom a seal is true, as in `mds.seal`. */
      members: z.array(memberSchema).max(LIMITS.poolMembers).optional(),
      /** Before the change, as the writer knows them. */
      versions: objectVersionsSchema.optional(),
      map: chunkMapSchema.optional(),
    }),
    result: z.object({ object: objectInfoSchema }),
  },
  /**
   * Asks the holder of an object for a change and waits for it; `object` null: nobody holds it, whoever asks may open it and do it.
   * TIMEOUT: it has not been done and will not be.
   */
  'mds.askChange': {
    params: objectRef.extend({ change: versionChangeSchema, timeoutMs: z.number().min(1).max(3_600_000) }),
    result: z.object({ object: objectInfoSchema.nullable() }),
  },
  /** The holder could not do what it was asked for. */
  'mds.refuseChange': {
    params: z.object({
      id: idSchema,
      sessionEpoch: count,
      askedId: z.string().max(64),
      code: z.string().max(64),
      reason: z.string().max(1024),
    }),
    result: z.object({}),
  },
  /** A new object over a snapshot, on the same OSTs. */
  'mds.clone': {
    params: objectRef.extend({
      version,
      name: nameSchema,
      onDegraded: z.enum(['pause', 'error']).optional(),
      minReplicas: z.number().int().optional(),
    }),
    result: objectInfoSchema,
  },
  /** Clones of an object's snapshots, direct ones. */
  'mds.children': {
    params: objectRef,
    result: z.object({ children: z.array(childSchema).max(10_000) }),
  },
} as const;

export const OST_VERSION_METHODS = {
  /** A session that reads one snapshot; fenced by nobody, for it never changes. NOT_FOUND where it is not known (any more). */
  'ost.attachSnapshot': {
    params: z.object({ objectId: idSchema, version }),
    result: z.object({ handle, bootId: bootIdSchema }),
  },
  /** Copies what the range shows of the clone's parent into the clone itself, under its writer's session. */
  'ost.flatten': {
    params: z.object({
      handle,
      chunk: count,
      offset: count,
      length: count.max(LIMITS.rangeBytes),
      tag: count,
    }),
    result: z.object({ copiedBytes: count }),
  },
  /** The epochs of one region in all versions where they are not 0: flat pairs of version and epoch. */
  'ost.regionVersions': {
    params: z.object({ handle, chunk: count, region: count }),
    result: z.object({ epochs: z.array(z.number()).max(2 * (LIMITS.snapshotsPerVolume + 1)) }),
  },
  /**
   * Which of these nameless versions still have something here. Waits up to `waitMs` for there to be none.
   */
  'ost.unmerged': {
    params: z.object({
      objectId: idSchema,
      versions: z.array(version).max(LIMITS.snapshotsPerVolume),
      waitMs: z.number().min(0).max(60_000),
    }),
    result: z.object({ versions: z.array(version) }),
  },
  /**
   * Where the version `of` may differ from what it was at `since`, a snapshot that it lies over (0: from nothing): flat pairs of length
   * and depth, from `offset` on. Depth: 0 the same; 1 the version has it itself, or has zeroed it; 2 the one below it has, and so on. It
   * may end before the range does. NOT_FOUND where `since` is no snapshot any more, INVALID where `of` does not lie over it.
   */
  'ost.changed': {
    params: z.object({
      handle,
      chunk: count,
      of: version,
      since: count,
      offset: count,
      length: count,
    }),
    result: z.object({ runs: z.array(z.number()).max(LIMITS.extentsPerAnswer * 2) }),
  },
} as const;
