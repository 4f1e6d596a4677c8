import { prefixEnd } from '../common/prefix-end.js';

/**
 * Where the MDS keeps what it knows: ordered keys, compare-and-swap transactions, watch. The interface is what
 * an embedded store and a distributed one (etcd: mod revisions, txn, watch) can both give.
 *
 * Keys are printable ASCII, at most STORE_LIMITS.keyBytes; values are bytes. Versions rise over the whole store
 * with every transaction; 0 stands for "no such key".
 */
export interface StoreEntry {
  readonly key: string;
  readonly value: Uint8Array;
  /** Of the transaction that put it. */
  readonly version: number;
}

export interface StoreRange {
  /** Inclusive. */
  readonly from: string;
  /** Exclusive. */
  readonly to: string;
  readonly limit?: number;
  /** Ends behind the entry with which its values are more than so many bytes. */
  readonly enoughBytes?: number;
}

export interface StoreTransaction {
  /** The key has this version now; 0: it does not exist. */
  readonly checks: readonly { readonly key: string; readonly version: number }[];
  readonly puts?: readonly { readonly key: string; readonly value: Uint8Array }[];
  readonly deletes?: readonly string[];
}

export type StoreOutcome =
  | { readonly committed: true; readonly version: number }
  /** Nothing was changed: `key` is the first check that failed. */
  | { readonly committed: false; readonly key: string };

/** A change to one key; value null for a deletion. */
export interface StoreEvent {
  readonly key: string;
  readonly value: Uint8Array | null;
  readonly version: number;
}

export interface StoreWatch {
  cancel(): void;
}

export interface MetadataStore {
  get(key: string): Promise<StoreEntry | null>;
  /** In the order of the keys' bytes. */
  range(range: StoreRange): Promise<StoreEntry[]>;
  /**
   * All or nothing, and durable before it answers: neither a crash of the process nor of the machine takes an
   * answered transaction back, and nobody reads what could still be lost.
   */
  transact(transaction: StoreTransaction): Promise<StoreOutcome>;
  /** Changes of keys with the prefix, in order, a call for each transaction, after they are durable. */
  watch(prefix: string, listener: (events: readonly StoreEvent[]) => void): StoreWatch;
  close(): Promise<void>;
}

export const STORE_LIMITS = {
  /** Of LMDB, with its page of 4 KiB, less what the store puts before. */
  keyBytes: 1900,
  /** Puts, deletes and checks of one transaction, each: what etcd takes unless told otherwise. */
  operations: 128,
  valueBytes: 1024 * 1024,
} as const;

/** The range of all keys that begin with a prefix. */
export function prefixRange(prefix: string): { from: string; to: string } {
  return { from: prefix, to: prefixEnd(prefix) };
}
