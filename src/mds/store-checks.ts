import { RawstorError } from '../common/errors.js';
import { STORE_LIMITS, type StoreEvent, type StoreTransaction, type StoreWatch } from './store.js';

const KEY_PATTERN = /^[\x20-\x7e]+$/;

/** What every implementation refuses alike. @throws RawstorError LIMIT, INVALID */
export function checkTransaction(transaction: StoreTransaction): void {
  const { checks, puts = [], deletes = [] } = transaction;
  if (checks.length > STORE_LIMITS.operations || puts.length + deletes.length > STORE_LIMITS.operations) {
    throw new RawstorError('LIMIT', `a transaction of more than ${STORE_LIMITS.operations} operations`);
  }
  for (const { key, value } of puts) {
    checkKey(key);
    if (value.length > STORE_LIMITS.valueBytes) {
      throw new RawstorError('LIMIT', `a record of ${value.length} bytes is too large`, { where: key });
    }
  }
  for (const key of deletes) checkKey(key);
  const touched = new Set([...puts.map((p) => p.key), ...deletes]);
  if (touched.size !== puts.length + deletes.length) {
    throw new RawstorError('INVALID', 'a transaction changes a key twice');
  }
}

function checkKey(key: string): void {
  if (key.length > STORE_LIMITS.keyBytes || !KEY_PATTERN.test(key)) {
    throw new RawstorError('INVALID', 'a key is not printable ASCII within its limit', { where: key });
  }
}

/** Listeners by prefix: for stores that live in one process. */
export class Watchers {
  private readonly listeners = new Set<{
    prefix: string;
    listener: (events: readonly StoreEvent[]) => void;
  }>();

  add(prefix: string, listener: (events: readonly StoreEvent[]) => void): StoreWatch {
    const entry = { prefix, listener };
    this.listeners.add(entry);
    return { cancel: () => void this.listeners.delete(entry) };
  }

  tell(transaction: StoreTransaction, version: number): void {
    if (this.listeners.size === 0) return;
    const events: StoreEvent[] = [];
    for (const { key, value } of transaction.puts ?? []) events.push({ key, value, version });
    for (const key of transaction.deletes ?? []) events.push({ key, value: null, version });
    for (const { prefix, listener } of this.listeners) {
      const wanted = events.filter((event) => event.key.startsWith(prefix));
      if (wanted.length > 0) listener(wanted);
    }
  }
}
