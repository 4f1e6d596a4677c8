import { RecordType, singleKey } from './record-codec.js';
import type { Records } from './records.js';
import type { Change } from './store.js';

/**
 * Whether the metadata server has this OST marked as draining, as it said last. Kept for whoever makes the metadata anew
 * (I13): else new volumes would come back onto a disk that is being emptied.
 */
export class DrainMark {
  draining: boolean;
  private readonly commit: (changes: readonly Change[]) => Promise<void>;

  constructor(records: Records, commit: (changes: readonly Change[]) => Promise<void>) {
    this.commit = commit;
    this.draining = records.value(singleKey(RecordType.DRAINING)) !== undefined;
  }

  async set(draining: boolean): Promise<void> {
    if (draining === this.draining) return;
    await this.commit([{ key: singleKey(RecordType.DRAINING), value: draining ? Buffer.from([1]) : null }]);
    this.draining = draining;
  }
}
