import type { RawstorError } from '../common/errors.js';

/** One who has a file open. */
export interface SyncListener {
  /** The number of the last failure that it knows of. */
  heard: number;
}

/** That a file could not be synced, until everybody who has it open has heard of it: a later sync that works does not bring back what is lost. */
export class SyncFailures {
  private count = 0;
  private last: RawstorError | null = null;
  private told = true;

  /** @throws RawstorError the same */
  failed(error: RawstorError): never {
    this.count++;
    this.last = error;
    this.told = false;
    throw error;
  }

  /** Who opens it hears of what nobody has heard of yet. */
  listener(): SyncListener {
    return { heard: this.told ? this.count : this.count - 1 };
  }

  /** What that one has not heard of, once. */
  heardBy(listener: SyncListener): RawstorError | null {
    if (listener.heard === this.count) return null;
    listener.heard = this.count;
    this.told = true;
    return this.last;
  }
}
