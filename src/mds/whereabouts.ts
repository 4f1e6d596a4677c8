import { everywhere } from './objects.js';
import type { StoreEntry } from './store.js';
import { decodeStored } from './stored-object.js';

/** Objects kept in mind, some 200 bytes each. */
const KEPT = 200_000;

interface Known {
  readonly version: number;
  /** Ids, which are all of one length, in a row. */
  readonly ostIds: string;
}

/**
 * Which OSTs objects are on, as their records say. To read a record is what takes long, and who looks for what is on
 * an OST looks through all of them, again and again while it is drained: each version of a record is read once.
 */
export class Whereabouts {
  private readonly known = new Map<string, Known>();

  /** @throws RawstorError BAD_DATA */
  isOn(ostId: string, { key, value, version }: StoreEntry): boolean {
    const before = this.known.get(key);
    if (before?.version === version) return before.ostIds.includes(ostId);
    const ostIds = everywhere(decodeStored(key, value)).join(' ');
    if (this.known.size >= KEPT) this.known.clear();
    this.known.set(key, { version, ostIds });
    return ostIds.includes(ostId);
  }
}
