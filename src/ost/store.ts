/** One change of a commit; `value` null removes the key. Keys and values are not touched again by the caller. */
export interface Change {
  readonly key: Buffer;
  readonly value: Buffer | null;
}

/**
 * Where the records of an OST are kept: ordered keys, atomic durable commits. LMDB in production; the simulation
 * has its own over a simulated disk.
 */
export interface DurableStore {
  get(key: Buffer): Buffer | undefined;
  /** Pairs from `start` (inclusive) to `end` (exclusive) in key order, at most `limit`. */
  range(start: Buffer, end: Buffer, limit: number): { key: Buffer; value: Buffer }[];
  /**
   * All or nothing, and durable when resolved: it survives a power loss. Commits take effect in the order asked.
   * @throws RawstorError NO_SPACE, with the store as it was; IO, after which nothing more may be trusted
   */
  commit(changes: readonly Change[]): Promise<void>;
  close(): Promise<void>;
}

/** What to do about records that cannot be used. */
export const RECORDS_REPAIR =
  "move this OST's directory away, start it on an empty one and let its volumes resync; " +
  'the data files under chunks/ stay readable';
