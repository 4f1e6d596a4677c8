import type {
  MetadataStore,
  StoreEntry,
  StoreEvent,
  StoreOutcome,
  StoreRange,
  StoreTransaction,
  StoreWatch,
} from './store.js';
import { checkTransaction, Watchers } from './store-checks.js';

/** A store in memory, for simulations: durable as long as the object lives, which a simulated crash keeps. */
export class MemoryStore implements MetadataStore {
  private readonly entries = new Map<string, StoreEntry>();
  private readonly watchers = new Watchers();
  private version = 0;

  async get(key: string): Promise<StoreEntry | null> {
    return this.entries.get(key) ?? null;
  }

  async range(range: StoreRange): Promise<StoreEntry[]> {
    const found = [...this.entries.values()].filter((e) => e.key >= range.from && e.key < range.to);
    found.sort((a, b) => (a.key < b.key ? -1 : 1));
    const { limit = found.length, enoughBytes = Number.POSITIVE_INFINITY } = range;
    let bytes = 0;
    const enough = found.findIndex(({ value }) => {
      bytes += value.length;
      return bytes > enoughBytes;
    });
    return found.slice(0, Math.min(limit, enough < 0 ? found.length : enough + 1));
  }

  async transact(transaction: StoreTransaction): Promise<StoreOutcome> {
    checkTransaction(transaction);
    for (const { key, version } of transaction.checks) {
      if ((this.entries.get(key)?.version ?? 0) !== version) return { committed: false, key };
    }
    const version = ++this.version;
    for (const { key, value } of transaction.puts ?? []) {
      this.entries.set(key, { key, value: Uint8Array.from(value), version });
    }
    for (const key of transaction.deletes ?? []) this.entries.delete(key);
    this.watchers.tell(transaction, version);
    return { committed: true, version };
  }

  watch(prefix: string, listener: (events: readonly StoreEvent[]) => void): StoreWatch {
    return this.watchers.add(prefix, listener);
  }

  async close(): Promise<void> {}
}
