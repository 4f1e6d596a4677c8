import type { Clock } from '../common/clock.js';
import { asRawstorError } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import { Turn } from '../common/turn.js';
import { isOnlyCopy } from '../common/whole-copies.js';
import type { Params, WantedMove } from '../protocol/index.js';
import { isUsable } from './allocate.js';
import type { LeftCopies } from './left-copies.js';
import type { ObjectsOn } from './objects-on.js';
import type { Osts } from './osts.js';
import type { StoredObject } from './stored-object.js';

export interface ReplaceSilentParts {
  readonly clock: Clock;
  readonly osts: Osts;
  readonly objectsOn: ObjectsOn;
  readonly leftCopies: LeftCopies;
  readonly log?: Logger;
  readonly move: (params: Params<'mds.move'>) => Promise<{ wanted: WantedMove }>;
}

const PAGE = 200;
/** After so long what was refused is tried again although nothing that counts has changed. */
const AGAIN_MS = 3_600_000;
/** Refusals kept in mind, some 200 bytes each. */
const KEPT = 200_000;

/**
 * Wishes all that is on OSTs which have been away for long to be elsewhere, where there is room. Where there is none,
 * as with as many hosts as replicas, that is so for every volume, each time it is looked at, for as long as the OST
 * is away: a volume that could go nowhere is left alone until it, or the OSTs that could take it, have changed.
 */
export class ReplaceSilent {
  private readonly parts: ReplaceSilentParts;
  /** By object: its epoch and wish when it could go nowhere. */
  private readonly refused = new Map<string, string>();
  /** What that depended on besides. */
  private refusedWith = '';
  private refusedAtMs = 0;
  private ended = false;

  constructor(parts: ReplaceSilentParts) {
    this.parts = parts;
  }

  async look(afterMs: number): Promise<void> {
    const { osts, objectsOn, clock } = this.parts;
    this.forgetRefusals();
    const turn = new Turn(clock);
    for (const ostId of osts.silentFor(afterMs)) {
      for (let after = ''; ; ) {
        const page = await objectsOn.page(ostId, after, PAGE);
        if (page.length === 0) break;
        after = page.at(-1)!.object.name;
        for (const stored of page) {
          if (this.ended) return;
          await this.replace(stored, ostId);
          await turn.rest();
        }
      }
    }
  }

  /** A look under way goes no further. */
  end(): void {
    this.ended = true;
  }

  private async replace(stored: StoredObject, ostId: string): Promise<void> {
    const { move, log } = this.parts;
    const { object, wanted } = stored;
    const from = wanted === null ? ostId : wanted.from;
    const placed = object.map.pool.some((target) => target.ostId === from);
    if (!placed || (wanted !== null && wanted.to !== ostId)) return;
    const asked = `${ostId} ${object.epoch}`;
    if (this.refused.get(object.id) === asked) return;
    // Without it nothing could be copied.
    if (isOnlyCopy(object, ostId)) return;
    try {
      const { wanted: now } = await move({ id: object.id, from, to: null, dryRun: false });
      log?.warn({ volume: object.name, from, to: now.to }, 'an OST is away for long: it is replaced');
    } catch (error) {
      const failure = asRawstorError(error);
      const reason = failure.toUserText();
      log?.debug({ volume: object.name, from, reason }, 'an OST that is away cannot be replaced');
      const lasting = failure.code === 'UNSATISFIABLE' && !this.waits(stored);
      if (lasting && this.refused.size < KEPT) this.refused.set(object.id, asked);
    }
  }

  /** For something that is neither the object's epoch nor the state of OSTs: the end of a move, a copy that is deleted. */
  private waits({ object, wanted, left }: StoredObject): boolean {
    const { osts, leftCopies } = this.parts;
    if (wanted !== null || left.length > 0) return true;
    return osts.candidates().some(({ info }) => leftCopies.has(info.ostId, object.id));
  }

  private forgetRefusals(): void {
    const { osts, clock } = this.parts;
    const usable = osts.candidates().filter(isUsable);
    // Free space by steps of a fifth: it changes all the time.
    const room = (freeBytes: number) => Math.round(4 * Math.log2(freeBytes + 1));
    const those = JSON.stringify(usable.map(({ info }) => [info.ostId, info.labels, room(info.freeBytes)]));
    const nowMs = clock.nowMs();
    if (those === this.refusedWith && nowMs - this.refusedAtMs < AGAIN_MS) return;
    this.refused.clear();
    this.refusedWith = those;
    this.refusedAtMs = nowMs;
  }
}
