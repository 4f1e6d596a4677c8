import { asRawstorError } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import type { Store } from './store.js';

/** Kept of so many: each was a file that was open. */
const KEPT_MAX = 1024;

/**
 * Files that were removed while somebody had them open, and are closed: the removal was answered then, so it is tried until it is done.
 * What somebody else has opened or taken a snapshot of since stays all the same: he is not to lose it.
 */
export class Removals {
  private readonly store: Pick<Store, 'remove'>;
  private readonly log: Logger;
  /** Names by ids. */
  private readonly left = new Map<string, string>();
  private trying: Promise<void> | null = null;

  constructor({ store, log }: { store: Pick<Store, 'remove'>; log: Logger }) {
    this.store = store;
    this.log = log;
  }

  /** It is removed as soon as the metadata server answers. */
  has(id: string): boolean {
    return this.left.has(id);
  }

  async remove(id: string, name: string): Promise<void> {
    // Not seen from here on, whatever becomes of the first try.
    if (this.left.size < KEPT_MAX) this.left.set(id, name);
    await this.attempt(id, name);
  }

  /** Those that are left over. */
  tryAgain(): Promise<void> {
    this.trying ??= (async () => {
      for (const [id, name] of [...this.left]) await this.attempt(id, name);
      this.trying = null;
    })();
    return this.trying;
  }

  private async attempt(id: string, name: string): Promise<void> {
    try {
      await this.store.remove(id);
      this.left.delete(id);
    } catch (error) {
      const { code, message } = asRawstorError(error);
      const kept = code === 'BUSY' || !this.left.has(id);
      if (kept || code === 'NOT_FOUND') this.left.delete(id);
      if (code === 'NOT_FOUND') return;
      this.log.warn(
        { volume: name, reason: message },
        kept ? 'removed while it was open, but kept' : 'not removed yet',
      );
    }
  }
}
