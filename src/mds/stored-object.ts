import { z } from 'zod';
import { RawstorError } from '../common/errors.js';
import {
  type ChunkMap,
  type CreateSpec,
  decodeBody,
  encodeBody,
  idSchema,
  type ObjectRecord,
  objectRecordSchema,
  wantedMoveSchema,
} from '../protocol/index.js';

/** How objects lie in the store; docs/formats-mds.md has the layout. */

const count = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);

const sessionSchema = z.object({
  /** Epoch of the latest open for write; 0: never opened. */
  epoch: count,
  /** False once it was closed. */
  open: z.boolean(),
  holder: z.string(),
  sinceWallMs: z.number(),
  /** Opened only to repair: gives way to whoever opens. */
  yields: z.boolean().default(false),
  /** Of such a one: epoch of the latest open before it that was for more. */
  servedEpoch: count.optional(),
});

/** A change that was recorded, so that the same request, sent again, gets the same answer. */
const answeredSchema = z.object({
  requestId: z.string(),
  method: z.enum(['changeMembers', 'seal', 'changeVersions']),
  sessionEpoch: count,
  epoch: count,
});
export type AnsweredRequest = z.infer<typeof answeredSchema>;

/** A session has one change outstanding at a time; the rest is for the sessions before it. */
export const ANSWERED_KEPT = 8;

export const storedObjectSchema = z.object({
  format: z.literal(1),
  object: objectRecordSchema,
  clean: z.boolean(),
  lossWallMs: z.number().nullable(),
  session: sessionSchema,
  answered: z.array(answeredSchema).max(ANSWERED_KEPT),
  /** What the writer, present or next, is asked to move. */
  wanted: wantedMoveSchema.nullable().default(null),
  /** OSTs that have left the map, or were to come into it; they may be told to delete when a writer says so. */
  left: z.array(idSchema).default([]),
  /**
   * From a rebuild to the first change: the epoch of the set it was made from. The session is the latest that OSTs know
   * of, and its writer may live: its first change may name any epoch below, which only the lost MDS had given, and any
   * members. Who opens it instead looks for a newer set on the OSTs first.
   */
  rebuiltFrom: count.nullable().optional(),
  /** Writers have told their guests of all losses recorded up to this epoch. */
  toldLossEpoch: count.optional(),
});
export type StoredObject = z.infer<typeof storedObjectSchema>;

export const OBJECT_PREFIX = 'object/';
export const NAME_PREFIX = 'name/';
export const OST_PREFIX = 'ost/';
export const TOMBSTONE_PREFIX = 'tomb/';
export const LEFT_PREFIX = 'left/';
export const CHILD_PREFIX = 'child/';

/** A volume as it is created: every OST of its map in sync, no session yet. */
export function newObjectRecord(
  id: string,
  spec: CreateSpec,
  map: ChunkMap,
  createdWallMs: number,
): ObjectRecord {
  const { name, sizeBytes, chunkSizeBytes, replicas, minReplicas, stripeWidth, failureDomain, onDegraded } =
    spec;
  return {
    id,
    name,
    mode: spec.mode ?? 'mutable',
    sizeBytes,
    chunkSizeBytes,
    replicas,
    minReplicas,
    stripeWidth,
    failureDomain,
    onDegraded,
    headVersion: 1,
    headOver: 0,
    snapshots: [],
    parent: null,
    map,
    epoch: 1,
    lastSeal: 0,
    members: map.pool.map(({ ostId }) => ({ ostId, state: 'in-sync', bootId: null, staleSince: 0 })),
    ...(spec.file === undefined ? {} : { file: spec.file }),
    createdWallMs,
    ...(spec.encryption === undefined ? {} : { encryption: spec.encryption }),
  };
}

export function newStoredObject(object: ObjectRecord): StoredObject {
  return {
    format: 1,
    object,
    clean: true,
    lossWallMs: null,
    session: { epoch: 0, open: false, holder: '', sinceWallMs: 0, yields: false },
    answered: [],
    wanted: null,
    left: [],
  };
}

/** A loss nobody has acknowledged, and of which no guest is known to have been told. */
export function isLossUntold({ lossWallMs, object, toldLossEpoch = 0 }: StoredObject): boolean {
  return lossWallMs !== null && (object.lossEpoch ?? 0) > toldLossEpoch;
}

export function encodeStored(stored: StoredObject): Uint8Array {
  return encodeBody(stored);
}

/** @throws RawstorError BAD_DATA naming the key */
export function decodeStored(key: string, value: Uint8Array): StoredObject {
  return decodeAs(storedObjectSchema, key, value);
}

/** Bytes of the store, checked. @throws RawstorError BAD_DATA naming the key */
export function decodeAs<T>(schema: z.ZodType<T>, key: string, value: Uint8Array): T {
  let body: unknown;
  try {
    body = decodeBody(value);
  } catch (error) {
    throw malformed(key, error);
  }
  const parsed = schema.safeParse(body);
  if (!parsed.success) throw malformed(key, parsed.error);
  return parsed.data;
}

function malformed(key: string, cause: unknown): RawstorError {
  return new RawstorError('BAD_DATA', `the metadata record '${key}' is malformed`, {
    hint: 'make a new directory from what the OSTs keep: `rawstor mds rebuild`',
    cause,
  });
}

/** Somebody has taken note of a recorded loss; null where there is none. */
export function withoutLoss(stored: StoredObject): StoredObject | null {
  return stored.lossWallMs === null ? null : { ...stored, lossWallMs: null };
}
