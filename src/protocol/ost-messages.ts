import { z } from 'zod';
import { LIMITS } from '../common/limits.js';
import { OST_COLLECT_METHODS } from './collect-messages.js';
import { integritySchema } from './integrity-messages.js';
import { KEPT_METHODS } from './kept-messages.js';
import {
  addressSchema,
  bootIdSchema,
  idSchema,
  objectRecordSchema,
  ostInfoSchema,
  storedSetSchema,
} from './records.js';
import { OST_VERSION_METHODS } from './version-messages.js';

/** What an OST answers, but for what it says of checksums. */

const epoch = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);
const count = epoch;
const handle = z.number().int().positive().max(0xffffffff);
const nothing = z.object({});

const regionListSchema = z.object({
  /** Flat rows of three: chunk, region index in the chunk, highest epoch of the region in any version. */
  rows: z.array(z.number()).max(LIMITS.regionsPerAnswer * 3),
  /** Where to go on, null at the end. */
  next: z.object({ chunk: count, region: count }).nullable(),
  /** Which of the rows were copied here whole, and the lowest session epoch under which one was. */
  copied: z.array(count).max(LIMITS.regionsPerAnswer),
  copiedSince: epoch,
});

const stageSchema = z.object({
  site: z.string().max(64),
  kind: z.enum(['read', 'write', 'flush', 'other']),
  stage: z.string().max(64),
  count,
  meanUs: z.number(),
  p50Us: z.number(),
  p99Us: z.number(),
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
    /** `lacksParent`: the copy here of what the object lies over is older than that; it does not count as shared any more. */
    result: z.object({
      handle,
      bootId: bootIdSchema,
      set: storedSetSchema.nullable(),
      lacksParent: z.boolean().optional(),
    }),
  },
  /** For another OST that copies from here: reads only, under the copying session's fence. */
  'ost.attachReader': {
    params: z.object({ objectId: idSchema, sessionEpoch: epoch }),
    /** `writer`: that session's own connection is there, as far as this OST knows. */
    result: z.object({ handle, bootId: bootIdSchema, writer: z.boolean() }),
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
      /**
       * Also the versions under the head, of which the region has this epoch or a later one on either side; 0: all of them. Absent: the
       * version named and no other.
       */
      since: epoch.optional(),
      /** At least this is the tag of what is written: newer than the last seal, where a copy changes what was sealed. */
      tag: epoch.optional(),
      /** Since it was asked for first, where the answer was that it waits. */
      waitedMs: count.optional(),
    }),
    /**
     * `sourceStatus`: wire status of what the source refused, which ended the copy; 0: all is copied. `waits`: nothing was begun, others
     * come first; it is to be asked for again.
     */
    result: z.object({
      copiedBytes: count,
      zeroedBytes: count,
      sourceStatus: count,
      waits: z.boolean().optional(),
    }),
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
  /**
   * Allocation map: flat pairs of length and state (0 data, 1 reads as zeros, 2 only with `layer`: what lies below shows), from `offset` on.
   * `layer`: of the version's own, not of what it shows, and of those below it down to `above`, which is not among them; `own`: versions of
   * the object only, without its parent.
   */
  'ost.extents': {
    params: z.object({
      handle,
      chunk: count,
      chunkVersion: count,
      offset: count,
      length: count,
      layer: z.enum(['all', 'own']).optional(),
      above: count.optional(),
    }),
    result: z.object({ runs: z.array(z.number()).max(LIMITS.extentsPerAnswer * 2) }),
  },
  /** Removes every chunk and record of an object; unknown objects are already removed. */
  'ost.deleteObject': { params: z.object({ objectId: idSchema }), result: nothing },
  /** Bytes an object occupies here, and its chunks. */
  'ost.usage': {
    params: z.object({ objectId: idSchema }),
    result: z.object({
      allocatedBytes: count,
      chunks: count,
      versions: z
        .array(z.object({ version: count, allocatedBytes: count, chunks: count }))
        .max(LIMITS.snapshotsPerVolume + 2)
        .default([]),
    }),
  },
  ...OST_VERSION_METHODS,
  ...OST_COLLECT_METHODS,
  /** Follows operations for so long from now (0: no more), and tells what was seen since the last time. */
  'ost.trace': {
    params: z.object({ forMs: count }),
    result: z.object({ stages: z.array(stageSchema).max(256) }),
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
