import { asRawstorError, type RawstorError } from '../common/errors.js';
import type { Logger } from '../common/log.js';

/** What an MDS has an OST remove: objects that are gone for good, and copies of objects that live elsewhere since `epoch`. */
export interface Told {
  readonly deletedObjects: readonly string[];
  readonly leftObjects: readonly { id: string; epoch: number }[];
}

export interface Remover {
  deleteObject(id: string): Promise<void>;
  leaveObject(id: string, epoch: number): Promise<void>;
}

type Confirm = (method: 'mds.confirmDeleted' | 'mds.confirmLeft', objects: string[]) => Promise<unknown>;

/**
 * Removals by the word of an MDS, beside its heartbeat: they may take minutes, and an OST that is not heard for so long is taken
 * for dead. One round at a time. What is told meanwhile is passed over, since it is told again until it is confirmed.
 */
export class ToldRemovals {
  private readonly log: Logger;
  private readonly remover: Remover;
  private readonly confirm: Confirm;
  private running = false;
  private closed = false;
  /** Why, by object, as logged last. */
  private readonly undeleted = new Map<string, string>();

  constructor(log: Logger, remover: Remover, confirm: Confirm) {
    this.log = log;
    this.remover = remover;
    this.confirm = confirm;
  }

  /** Whether nothing is being removed or confirmed: only an answer to what was asked then is of after the last round. */
  get idle(): boolean {
    return !this.running && !this.closed;
  }

  /** @param done there may be more, which was passed over */
  begin(told: Told, done: () => void): void {
    if (!this.idle || told.deletedObjects.length + told.leftObjects.length === 0) return;
    this.running = true;
    const round = this.round(told).finally(() => {
      this.running = false;
    });
    round.then(
      (removed) => removed > 0 && !this.closed && done(),
      (error) => this.log.debug({ reason: asRawstorError(error).toUserText() }, 'removals are not confirmed'),
    );
  }

  /** Begins with no other object. The one that is being removed is not waited for: whoever removes it knows how to be cut short. */
  close(): void {
    this.closed = true;
  }

  /** @returns how many are gone */
  private async round({ deletedObjects, leftObjects }: Told): Promise<number> {
    const epochs = new Map(leftObjects.map(({ id, epoch }) => [id, epoch]));
    const left = await this.removed([...epochs.keys()], (id) =>
      this.remover.leaveObject(id, epochs.get(id)!),
    );
    if (left.length > 0 && !this.closed) await this.confirm('mds.confirmLeft', left);
    const deleted = await this.removed(deletedObjects, (id) => this.remover.deleteObject(id));
    if (deleted.length > 0 && !this.closed) await this.confirm('mds.confirmDeleted', deleted);
    return left.length + deleted.length;
  }

  private async removed(ids: readonly string[], remove: (id: string) => Promise<void>): Promise<string[]> {
    const gone = await removeEach(
      ids,
      remove,
      (id, error) => {
        if (this.closed) return;
        const reason = error.toUserText();
        if (this.undeleted.get(id) !== reason) {
          const level = error.code === 'BUSY' ? 'info' : 'error';
          this.log[level]({ object: id, reason }, 'an object cannot be deleted');
        }
        this.undeleted.set(id, reason);
      },
      () => this.closed,
    );
    for (const id of gone) this.undeleted.delete(id);
    return gone;
  }
}

/**
 * Removes each of the objects that an MDS wants removed. One that cannot be keeps no other from it, and comes with the next answer; one
 * that a clone lies over is tried again when others have gone, that clone perhaps.
 * @returns those that are gone
 */
export async function removeEach(
  ids: readonly string[],
  remove: (id: string) => Promise<void>,
  failed: (id: string, error: RawstorError) => void = () => {},
  isOver: () => boolean = () => false,
): Promise<string[]> {
  const gone: string[] = [];
  let waiting = [...ids];
  for (;;) {
    const refused: { id: string; error: RawstorError }[] = [];
    for (const id of waiting) {
      if (isOver()) return gone;
      try {
        await remove(id);
        gone.push(id);
      } catch (thrown) {
        const error = asRawstorError(thrown);
        if (error.code === 'BUSY') refused.push({ id, error });
        else failed(id, error);
      }
    }
    const isLast = refused.length === 0 || refused.length === waiting.length;
    waiting = refused.map(({ id }) => id);
    if (!isLast) continue;
    for (const { id, error } of refused) failed(id, error);
    return gone;
  }
}
