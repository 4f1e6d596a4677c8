import { z } from 'zod';
import { RawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import { CATALOG_METHODS } from './catalog-messages.js';
import { MDS_COLLECT_METHODS } from './collect-messages.js';
import { INTEGRITY_METHODS } from './integrity-messages.js';
import { DUMP_METHODS } from './kept-messages.js';
import { MGS_METHODS } from './mgs-messages.js';
import { MOVE_METHODS } from './move-messages.js';
import { objectInfoSchema, recoveryProgressSchema } from './object-info.js';
import { OBJECT_METHODS, objectRef } from './object-messages.js';
import { OST_METHODS } from './ost-messages.js';
import {
  chunkMapSchema,
  idSchema,
  memberSchema,
  objectVersionsSchema,
  ostInfoSchema,
  wantedMoveSchema,
} from './records.js';
import { askedChangeSchema, MDS_VERSION_METHODS } from './version-messages.js';

/**
 * Control messages: method name, what it takes, what it answers. Parameters are checked by the server before
 * anything is done with them; answers by the caller. An unknown method is answered NOT_SUPPORTED.
 */

const epoch = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);
const count = epoch;
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
      /** Where it is held: BUSY all the same, but its holder is told, and gives way when its front-end has stopped. */
      handOver: z.boolean().optional(),
      /** BUSY also where another's lease has lapsed and it was not closed: its holder may only be cut off. */
      ifClosed: z.boolean().optional(),
      /** `sessionEpoch` of the object as the asker knows it; absent: whatever it is. */
      after: epoch.optional(),
      /**
       * A session of which the asker found no writer at the OSTs. What `yields` or is `ifClosed` is BUSY beside any other that was not
       * closed, its lease lapsed or not: its writer may only be cut off from the MDS.
       */
      unseenSession: epoch.optional(),
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
      /** A change of the versions that somebody waits for. */
      asked: askedChangeSchema.nullable().default(null),
      /** Somebody waits for the lease: to be given back when the front-end has stopped. */
      handOver: z.boolean().default(false),
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
      /** OSTs whose copies of the parent turned out to be older than the clone: they are not shared any more. */
      withoutParent: z.array(z.string().max(64)).max(LIMITS.poolMembers).optional(),
      /** As the writer knows them: a rebuilt MDS may know older ones. */
      versions: objectVersionsSchema.optional(),
      /** Where the writer's session took another than it was opened with. */
      map: chunkMapSchema.optional(),
    }),
    result: z.object({ epoch }),
  },
  /** Records "identical up to `seal`" by the same compare-and-swap. */
  'mds.seal': {
    /** `members`: of whom it is true; a rebuilt MDS may know an older set. */
    params: swap.extend({
      seal: epoch,
      members: memberList.optional(),
      versions: objectVersionsSchema.optional(),
      map: chunkMapSchema.optional(),
    }),
    result: z.object({ epoch }),
  },
  /** Gives the lease back; `clean` after a seal with nothing written since; `members`: what each has kept by then. */
  'mds.close': {
    params: z.object({
      id: idSchema,
      sessionEpoch: epoch,
      clean: z.boolean(),
      members: memberList.optional(),
    }),
    result: nothing,
  },
  ...DUMP_METHODS,
  ...CATALOG_METHODS,
  ...MDS_VERSION_METHODS,
  ...MDS_COLLECT_METHODS,
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
 * For whatever checks a message: to report each of a hundred thousand wrong elements takes a second, and nobody
 * reads it. What zod's own `validate` sets; test/unit/protocol/hostile-bodies.test.ts says whether it is heeded.
 */
export const FIRST_FAULT: z.core.ParseContextInternal<z.core.$ZodIssue> = { abortEarly: true };

/**
 * What a call asks for, its parameters checked; `where` is who was asked, for the error.
 * @throws RawstorError NOT_SUPPORTED, INVALID
 */
export function checkCall(name: string, params: unknown, where: string): [MethodName, unknown] {
  if (!Object.hasOwn(METHODS, name)) {
    throw new RawstorError('NOT_SUPPORTED', `unknown method '${name.slice(0, 64)}'`, { where });
  }
  const method = name as MethodName;
  const parsed = METHODS[method].params.safeParse(params, FIRST_FAULT);
  if (parsed.success) return [method, parsed.data];
  const issue = parsed.error.issues[0];
  const text = `${method}: ${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}`.trim();
  throw new RawstorError('INVALID', text, { where, cause: parsed.error });
}
