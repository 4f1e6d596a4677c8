import { z } from 'zod';
import { RawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import { INTEGRITY_METHODS, integritySchema } from './integrity-messages.js';
import { DUMP_METHODS, KEPT_METHODS } from './kept-messages.js';
import { MGS_METHODS } from './mgs-messages.js';
import { MOVE_METHODS } from './move-messages.js';
import { objectInfoSchema, recoveryProgressSchema } from './object-info.js';
import { OBJECT_METHODS, objectRef } from './object-messages.js';
import {
  addressSchema,
  bootIdSchema,
  idSchema,
  memberSchema,
  objectRecordSchema,
  ostInfoSchema,
  storedSetSchema,
  wantedMoveSchema,
} from './records.js';

/**
 * Control messages: method name, what it takes, what it answers. Parameters are checked by the server before
 * anything is done with them; answers by the caller. An unknown method is answered NOT_SUPPORTED.
 */

const epoch = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);
const count = epoch;
const handle = z.number().int().positive().max(0xffffffff);
const requestId = z.string().min(1).max(64);
const nothing = z.object({});

/** First message both ways on each connection; its shape only ever grows. */
export const helloSchema = z.object({
  /** Lowest and highest protocol version the sender speaks; the answer has both equal to the chosen one. */
  minVersion: z.number().int(),
  maxVersion: z.number().int(),
  role: z.enum(['client', 'ost', 'mds', 'mgs']),
  /** Cluster id, '' where not known yet. A server refuses another cluster's. */
  clusterId: z.string().max(64),
  /** For logs and `status`: program, host and process. */
  name: z.string().max(255),
  /** Of an OST, so that nobody takes what was started at its address for it. */
  serverId: idSchema.optional(),
});
export type Hello = z.infer<typeof helloSchema>;

const regionListSchema = z.object({
  /** Flat rows of three: chunk, region index in the chunk, region epoch. Head version only. */
  rows: z.array(z.number()).max(LIMITS.regionsPerAnswer * 3),
  /** Where to go on, null at the end. */
  next: z.object({ chunk: count, region: count }).nullable(),
  /** Which of the rows were copied here whole, and the lowest session epoch under which one was. */
  copied: z.array(count).max(LIMITS.regionsPerAnswer),
  copiedSince: epoch,
});

const trafficSchema = z.object({
  reads: count,
  writes: count,
  flushes: count,
  readBytes: count,
  writtenBytes: count,
  inFlight: count,
});

/** Methods an OST answers. Handles belong to the connection that attached. */
export const OST_METHODS = {
  /** Fences earlier sessions, drains what they have in flight, then answers (I4). Keeps the object record (I13). */
  'ost.attach': {
    params: z.object({ object: objectRecordSchema, sessionEpoch: epoch, sessionNumber: count }),
    result: z.object({ handle, bootId: bootIdSchema, set: storedSetSchema.nullable() }),
  },
  /** For another OST that copies from here: reads only, under the copying session's fence. */
  'ost.attachReader': {
    params: z.object({ objectId: idSchema, sessionEpoch: epoch }),
    result: z.object({ handle, bootId: bootIdSchema }),
  },
  'ost.detach': { params: z.object({ handle }), result: nothing },
  /** Regions whose epoch is at least `since`, in order, a page at a time. */
  'ost.regions': {
    params: z.object({ handle, since: epoch, from: z.object({ chunk: count, region: count }).nullable() }),
    result: regionListSchema,
  },
  /** Pulls a range from another OST; answered when it is written here (durable only after a flush). */
  'ost.copy': {
    params: z.object({
      handle,
      chunk: count,
      chunkVersion: count,
      offset: count,
      length: count.max(LIMITS.rangeBytes),
      /** The target's region epochs in the range are raised to the source's first. */
      sourceAddresses: z.array(addressSchema).min(1).max(8),
      sourceOstId: idSchema,
      /** Under which the writer attached the source: what another has may be older (I8). */
      sourceBootId: bootIdSchema,
      /** The range is a region that is sealed at the source: `ost.regions` tells of it from then on. */
      remember: z.boolean().optional(),
      /** At least this is the tag of what is written: newer than the last seal, where a copy changes what was sealed. */
      tag: epoch.optional(),
    }),
    /** `sourceStatus`: wire status of what the source refused, which ended the copy; 0: all is copied. */
    result: z.object({ copiedBytes: count, zeroedBytes: count, sourceStatus: count }),
  },
  /**
   * Before a seal: raises the epochs of regions written lately to `tag`, which the writer will use from then on, so that
   * a steady workload does not wait for intents (I2).
   */
  'ost.mark': { params: z.object({ handle, tag: epoch }), result: z.object({ regions: count }) },
  /** Durable before the answer. */
  'ost.storeSet': {
    params: z.object({
      handle,
      set: storedSetSchema,
      lastSeal: epoch,
      lossWallMs: z.number().nullish(),
      /** Where more than the set has changed since the attach: the map (I13). */
      object: objectRecordSchema.optional(),
    }),
    result: nothing,
  },
  ...KEPT_METHODS,
  /** Allocation map: flat pairs of length and state (0 data, 1 hole), from `offset` on. */
  'ost.extents': {
    params: z.object({ handle, chunk: count, chunkVersion: count, offset: count, length: count }),
    result: z.object({ runs: z.array(z.number()).max(LIMITS.extentsPerAnswer * 2) }),
  },
  /** Removes every chunk and record of an object; unknown objects are already removed. */
  'ost.deleteObject': { params: z.object({ objectId: idSchema }), result: nothing },
  /** Bytes an object occupies here, and its chunks. */
  'ost.usage': {
    params: z.object({ objectId: idSchema }),
    result: z.object({ allocatedBytes: count, chunks: count }),
  },
  'ost.stat': {
    params: nothing,
    result: ostInfoSchema.extend({
      objects: count,
      sessions: count,
      loopStallMaxMs: z.number(),
      integrity: integritySchema.nullable(),
      /** Since its start; `inFlight` at this moment. */
      traffic: trafficSchema,
    }),
  },
} as const;

const openModeSchema = z.enum(['write', 'read']);

const swap = z.object({ id: idSchema, sessionEpoch: epoch, expectedEpoch: epoch, requestId });
const memberList = z.array(memberSchema).max(LIMITS.poolMembers);

/** Methods the MDS answers. */
export const MDS_METHODS = {
  /** Sent by each OST every few seconds; answers objects whose removal it has missed. */
  'mds.registerOst': {
    params: ostInfoSchema,
    result: z.object({
      clusterId: z.string(),
      deletedObjects: z.array(idSchema),
      /** Copies of objects that live elsewhere by now: to be deleted unless a session later than the epoch was there. */
      leftObjects: z.array(z.object({ id: idSchema, epoch })).default([]),
      /** The OST keeps it, for a rebuild of the MDS. */
      draining: z.boolean().optional(),
    }),
  },
  /** The OST has removed these. */
  'mds.confirmDeleted': {
    params: z.object({ ostId: idSchema, objects: z.array(idSchema) }),
    result: nothing,
  },
  'mds.listOsts': {
    params: nothing,
    result: z.object({
      osts: z.array(
        ostInfoSchema.extend({ alive: z.boolean(), draining: z.boolean(), lastSeenWallMs: z.number() }),
      ),
    }),
  },
  /** Some OSTs with room for `sizeBytes`, best first: candidates, not all. */
  'mds.getFreeOst': {
    params: z.object({ sizeBytes: count, count: z.number().int().min(1).max(64) }),
    result: z.object({ osts: z.array(ostInfoSchema) }),
  },
  ...OBJECT_METHODS,
  /**
   * Gives a session. For write it takes the lease (BUSY when held by a live holder and not forced) and a new
   * epoch, and marks the object unclean. For read it gives the current epoch and no lease. CONFLICT when
   * it has been opened since the session named `after`: a late open of a process that is dead shuts nobody out.
   */
  'mds.open': {
    params: objectRef.extend({
      mode: openModeSchema,
      holder: z.string().max(255),
      force: z.boolean(),
      /** Only to repair: whoever else opens gets the lease at once. */
      yields: z.boolean().optional(),
      /** `sessionEpoch` of the object as the asker knows it; absent: whatever it is. */
      after: epoch.optional(),
    }),
    result: z.object({
      object: objectInfoSchema,
      sessionEpoch: epoch,
      /** As it was before this open. */
      wasClean: z.boolean(),
      /** After a rebuild, until a change is recorded: OSTs may have stored a set of a later epoch than this. */
      rebuiltFrom: epoch.nullable(),
      /** A loss is on record of which no writer has said that its guest was told. */
      lossUntold: z.boolean().default(false),
      leaseMs: count,
      osts: z.array(ostInfoSchema),
    }),
  },
  /** Keeps the lease; FENCED when another session has the object. */
  'mds.renew': {
    params: z.object({
      id: idSchema,
      sessionEpoch: epoch,
      recovery: z.array(recoveryProgressSchema).max(64).optional(),
      /** The guest has been told of all losses recorded up to this epoch. */
      toldLossEpoch: epoch.optional(),
    }),
    result: z.object({
      osts: z.array(ostInfoSchema),
      wanted: wantedMoveSchema.nullable().default(null),
      left: z.array(idSchema).default([]),
    }),
  },
  /**
   * Compare-and-swap of the members on the epoch. The same request id again answers the same, so that a
   * lost answer is never taken for a fence. CONFLICT when the epoch differs, FENCED when the session does.
   */
  'mds.changeMembers': {
    params: swap.extend({
      members: memberList,
      /** A loss was decided on: every open reports it until it is acknowledged. */
      loss: z.boolean(),
      /** Takes the map of this wish with the change; NOT_FOUND when it is not wanted any more. */
      adopt: z.string().max(64).optional(),
    }),
    result: z.object({ epoch }),
  },
  /** Records "identical up to `seal`" by the same compare-and-swap. */
  'mds.seal': {
    /** `members`: of whom it is true; a rebuilt MDS may know an older set. */
    params: swap.extend({ seal: epoch, members: memberList.optional() }),
    result: z.object({ epoch }),
  },
  /** Gives the lease back; `clean` after a seal with nothing written since. */
  'mds.close': {
    params: z.object({ id: idSchema, sessionEpoch: epoch, clean: z.boolean() }),
    result: nothing,
  },
  ...DUMP_METHODS,
  'mds.stat': {
    params: nothing,
    result: z.object({
      clusterId: z.string(),
      objects: count,
      osts: count,
      leases: count,
      loopStallMaxMs: z.number(),
    }),
  },
} as const;

export const METHODS = {
  ...OST_METHODS,
  ...INTEGRITY_METHODS,
  ...MDS_METHODS,
  ...MOVE_METHODS,
  ...MGS_METHODS,
} as const;
export type Methods = typeof METHODS;
export type MethodName = keyof Methods;
export type Params<M extends MethodName> = z.infer<Methods[M]['params']>;
export type Result<M extends MethodName> = z.infer<Methods[M]['result']>;

/**
 * What a call asks for, its parameters checked; `where` is who was asked, for the error.
 * @throws RawstorError NOT_SUPPORTED, INVALID
 */
export function checkCall(name: string, params: unknown, where: string): [MethodName, unknown] {
  if (!Object.hasOwn(METHODS, name)) {
    throw new RawstorError('NOT_SUPPORTED', `unknown method '${name.slice(0, 64)}'`, { where });
  }
  const method = name as MethodName;
  const parsed = METHODS[method].params.safeParse(params);
  if (parsed.success) return [method, parsed.data];
  const issue = parsed.error.issues[0];
  const text = `${method}: ${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}`.trim();
  throw new RawstorError('INVALID', text, { where });
}
