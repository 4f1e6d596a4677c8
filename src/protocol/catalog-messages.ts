import { z } from 'zod';

/**
 * The catalog: ordered keys that facades keep at the MDS, with compare-and-swap transactions over them. The MDS knows
 * one thing of them: what is under `ref/ID/` keeps the object ID, and the version named next, from being removed.
 *
 * A row's version is a revision: it rises over the whole catalog with every transaction, also over the loss and the
 * recovery of the MDS, so that journals of before and after are in one order.
 */

const count = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);

export const CATALOG_LIMITS = {
  keyBytes: 1800,
  operations: 120,
  valueBytes: 512 * 1024,
  /** Entries of one answer; fewer where they would not fit a message. */
  entries: 1000,
} as const;

const key = z
  .string()
  .min(1)
  .max(CATALOG_LIMITS.keyBytes)
  .regex(/^[\x20-\x7e]+$/);
const bytes = z.custom<Uint8Array>((value) => value instanceof Uint8Array, 'not bytes');
const entry = z.object({ key, value: bytes, version: count });
export type CatalogEntry = z.infer<typeof entry>;

/**
 * - `whole`: all that was ever answered is there.
 * - `lost`: the MDS was made anew, and does not know yet what its facades kept. Rows are neither told nor changed, and nothing is removed.
 * - `unconfirmed`: they are there again; immutable data is not removed before a person has looked.
 */
export const CATALOG_STATES = ['whole', 'lost', 'unconfirmed'] as const;
export type CatalogState = (typeof CATALOG_STATES)[number];

/** Revisions of one life of an MDS: a recovery begins the next. */
const REVISIONS_PER_LIFE = 2 ** 40;
export const lifeOf = (revision: number): number => Math.floor(revision / REVISIONS_PER_LIFE);
export const firstRevision = (life: number): number => life * REVISIONS_PER_LIFE;

export const CATALOG_METHODS = {
  /** The entries of these keys that exist. */
  'mds.catalogGet': {
    params: z.object({ keys: z.array(key).max(CATALOG_LIMITS.operations) }),
    result: z.object({ entries: z.array(entry) }),
  },
  /** In the order of the keys' bytes, `from` inclusive, `to` exclusive; `more`: there are others behind. */
  'mds.catalogRange': {
    params: z.object({
      from: key,
      to: key,
      limit: z.number().int().min(1).max(CATALOG_LIMITS.entries),
      /** Those of the dump that a lost catalog is to be made of, instead. */
      dumped: z.boolean().optional(),
    }),
    result: z.object({ entries: z.array(entry), more: z.boolean() }),
  },
  /**
   * All or nothing, durable before the answer. Each check names the version a key has, 0 for none. NOT_FOUND when a reference is
   * put to an object, or to a version of one, that is not there. `failed` is the first key whose check did not hold, else null.
   */
  'mds.catalogTransact': {
    params: z.object({
      checks: z.array(z.object({ key, version: count })).max(CATALOG_LIMITS.operations),
      puts: z.array(z.object({ key, value: bytes })).max(CATALOG_LIMITS.operations),
      deletes: z.array(key).max(CATALOG_LIMITS.operations),
    }),
    result: z.object({ failed: z.string().nullable(), version: count }),
  },
  /** `mark`: answers a revision that all transactions before this call are below, and all after it above. */
  'mds.catalogState': {
    params: z.object({ mark: z.boolean() }),
    result: z.object({
      state: z.enum(CATALOG_STATES),
      life: count,
      revision: count.nullable(),
      /** With a dump to recover from: all below this revision is in it. */
      dumpedRevision: count.nullable(),
    }),
  },
  /** Begins to fill a lost catalog, anew. BUSY while somebody else does. CONFLICT when it is not lost. */
  'mds.catalogRecoverBegin': { params: z.object({}), result: z.object({ token: count }) },
  /** Rows, references too, whatever they refer to. CONFLICT when another recovery has begun since. */
  'mds.catalogRecoverRows': {
    params: z.object({
      token: count,
      puts: z.array(z.object({ key, value: bytes })).max(CATALOG_LIMITS.operations),
    }),
    result: z.object({}),
  },
  /** That recovery has failed: the next need not wait until it counts as dead. CONFLICT when another has begun since. */
  'mds.catalogRecoverAbandon': { params: z.object({ token: count }), result: z.object({}) },
  /** It is all there: served from now on, with revisions above `above`. */
  'mds.catalogRecoverEnd': { params: z.object({ token: count, above: count }), result: z.object({}) },
  /** A person says that nothing is missing: what nobody refers to may be removed. */
  'mds.catalogConfirm': { params: z.object({}), result: z.object({ state: z.enum(CATALOG_STATES) }) },
} as const;
