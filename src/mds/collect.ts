import { RawstorError } from '../common/errors.js';
import type { Params, Result } from '../protocol/index.js';
import type { Children } from './children.js';
import { isRebuilt } from './in-sync-sets.js';
import { type LeftCopies, putLeft } from './left-copies.js';
import { everywhere, type Objects } from './objects.js';
import type { Serial } from './serial.js';
import type { StoredObject } from './stored-object.js';
import type { Tombstones } from './tombstones.js';

export interface CollectParts {
  readonly objects: Objects;
  readonly tombstones: Tombstones;
  readonly moves: { readonly leftCopies: LeftCopies; readonly children: Children };
  readonly serial: Serial;
  /** These OSTs have something to delete. */
  readonly onLeft: (objectId: string, ostIds: readonly string[]) => void;
}

type Verdict = 'live' | 'removed' | 'left' | 'unknown';

/**
 * Which of the objects that an OST keeps something of are nobody's there (docs/garbage.md). Only by a record: of their
 * removal, or of where they are. What this MDS does not know may be what it has lost.
 */
export class Collect {
  private readonly parts: CollectParts;

  constructor(parts: CollectParts) {
    this.parts = parts;
  }

  async report(params: Params<'mds.reportObjects'>): Promise<Result<'mds.reportObjects'>> {
    const { ostId, objects, dryRun } = params;
    const answer: Result<'mds.reportObjects'> = { removed: [], left: [], unknown: [] };
    for (const { id, epoch } of objects) {
      const verdict = await this.judge(ostId, id, epoch, dryRun);
      if (verdict !== 'live') answer[verdict].push(id);
    }
    return answer;
  }

  private judge(ostId: string, id: string, epoch: number, dryRun: boolean): Promise<Verdict> {
    const { objects, tombstones, serial } = this.parts;
    return serial.run(id, async () => {
      try {
        const { stored } = await objects.load(id);
        if (!this.isLeft(stored, ostId, epoch)) return 'live';
        return dryRun ? 'left' : await this.leave(ostId, id, epoch);
      } catch (error) {
        if (!(error instanceof RawstorError) || error.code !== 'NOT_FOUND') throw error;
        if (!(await tombstones.has(id))) return 'unknown';
        if (!dryRun) await tombstones.add(id, ostId);
        return 'removed';
      }
    });
  }

  /** By a transaction that fails when the object's record has changed: it may be placed there by now. */
  private async leave(ostId: string, id: string, epoch: number): Promise<Verdict> {
    const { objects, moves, onLeft } = this.parts;
    if (moves.leftCopies.has(ostId, id)) return 'left';
    let left = false;
    let puts: ReturnType<typeof putLeft>[] = [];
    await objects.update(
      id,
      (stored) => {
        left = this.isLeft(stored, ostId, epoch);
        puts = left ? [putLeft(ostId, id, stored.object.epoch)] : [];
        return left ? stored : null;
      },
      () => puts,
    );
    if (left) onLeft(id, [ostId]);
    return left ? 'left' : 'live';
  }

  /**
   * It has no place there, nor is it to get one, and no clone there lies over it. An OST that knows a later epoch knows more than
   * this MDS, as after its directory was put back from a copy; and after a rebuild the first writer finds out where the
   * object really is.
   */
  private isLeft(stored: StoredObject, ostId: string, epoch: number): boolean {
    if (everywhere(stored).includes(ostId) || isRebuilt(stored) || epoch > stored.object.epoch) return false;
    const { leftCopies, children } = this.parts.moves;
    return !children.need(stored.object.id, ostId, (on, id) => leftCopies.has(on, id));
  }
}
