import type { Clock, Timer } from '../common/clock.js';
import { asRawstorError, RawstorError } from '../common/errors.js';
import { newId } from '../common/ids.js';
import type { Logger } from '../common/log.js';
import type { ObjectInfo, Params, RecoveryProgress, Result, WantedMove } from '../protocol/index.js';
import { fitting } from './answers.js';
import { absentOn, Children, forgetAbsent } from './children.js';
import { withoutCopy } from './give-up.js';
import { checkCurrent, isRebuilt } from './in-sync-sets.js';
import type { Leases } from './leases.js';
import { LeftCopies, putLeft } from './left-copies.js';
import type { Objects } from './objects.js';
import { ObjectsOn } from './objects-on.js';
import type { Osts } from './osts.js';
import { chooseTarget, hasRoomForMove, mapWith } from './replace.js';
import { ReplaceSilent } from './replace-silent.js';
import type { Serial } from './serial.js';
import type { MetadataStore } from './store.js';
import type { StoredObject } from './stored-object.js';
import type { Tombstones } from './tombstones.js';

export interface MovesParts {
  readonly store: MetadataStore;
  readonly clock: Clock;
  readonly objects: Objects;
  readonly osts: Osts;
  readonly tombstones: Tombstones;
  readonly leases: Leases;
  readonly serial: Serial;
  /** 0, the default: never. */
  readonly replaceAfterMs?: number;
  readonly log?: Logger;
  /** Tells the object's holder that there is something new. */
  readonly look: (id: string, reason: string) => void;
  readonly info: (stored: StoredObject) => ObjectInfo;
  /** These OSTs have copies to delete. */
  readonly onLeft: (objectId: string, ostIds: readonly string[]) => void;
}

/** Between two looks for OSTs that are away for long. */
const LOOK_MS = 60_000;

/**
 * Moving objects from OST to OST. The MDS only says what is wanted and where to; the object's writer copies, and
 * takes the new map by a compare-and-swap of the set. What is left behind is deleted when a writer has said that
 * every OST in sync knows the new map.
 */
export class Moves {
  private readonly parts: MovesParts;
  readonly leftCopies: LeftCopies;
  readonly children: Children;
  private readonly on: ObjectsOn;
  private readonly silent: ReplaceSilent;
  private timer: Timer | null = null;
  private looking: Promise<void> | null = null;
  /** As holders told last, by object. */
  private readonly told = new Map<string, readonly RecoveryProgress[]>();

  constructor(parts: MovesParts) {
    this.parts = parts;
    this.leftCopies = new LeftCopies(parts.store);
    this.children = new Children(parts.store);
    this.on = new ObjectsOn(parts.store, parts.clock, parts.objects.listed);
    const { on: objectsOn, leftCopies } = this;
    this.silent = new ReplaceSilent({ ...parts, objectsOn, leftCopies, move: (wish) => this.move(wish) });
  }

  async start(): Promise<void> {
    await this.leftCopies.start();
    await this.children.start();
    const { clock, replaceAfterMs = 0 } = this.parts;
    if (replaceAfterMs === 0) return;
    const periodMs = Math.max(100, Math.min(LOOK_MS, replaceAfterMs / 4));
    this.timer = clock.every(periodMs, () => {
      this.looking ??= this.silent
        .look(replaceAfterMs)
        .catch((error) => {
          const reason = asRawstorError(error).toUserText();
          this.parts.log?.error({ reason }, 'OSTs that are away are not replaced now');
        })
        .finally(() => {
          this.looking = null;
        });
    });
  }

  async close(): Promise<void> {
    this.timer?.cancel();
    this.silent.end();
    await this.looking;
  }

  /** Copies that the OST is to delete: none that a clone there lies over. */
  leftOn(ostId: string, limit: number): { id: string; epoch: number }[] {
    const isLeft = (on: string, id: string) => this.leftCopies.has(on, id);
    return this.leftCopies.pending(ostId, limit, (id) => !this.children.need(id, ostId, isLeft));
  }

  progressed(id: string, recovery: readonly RecoveryProgress[]): void {
    if (recovery.length === 0) this.told.delete(id);
    else this.told.set(id, recovery);
  }

  progress(id: string): RecoveryProgress[] {
    return [...(this.told.get(id) ?? [])];
  }

  /** @throws RawstorError NOT_FOUND */
  async setOst({ ostId, draining }: Params<'mds.setOst'>): Promise<Result<'mds.setOst'>> {
    await this.parts.osts.mark(ostId, { draining });
    return {};
  }

  /** @throws RawstorError NOT_FOUND, BUSY, BAD_DATA: a record that cannot be read may be of what it has */
  async removeOst({ ostId, lost = false }: Params<'mds.removeOst'>): Promise<Result<'mds.removeOst'>> {
    const { osts, store, tombstones } = this.parts;
    // First, so that nothing more is placed there. What was placed before is on record by then: the store takes one after another.
    await osts.mark(ostId, { draining: true });
    const first = await this.on.any(ostId);
    if (first !== null) {
      throw new RawstorError('BUSY', `OST ${ostId} still has copies: of '${first.object.name}' for one`, {
        hint: 'move them first: `rawstor ost drain`, or `rawstor ost rm --lost` when it is gone for good',
      });
    }
    const absent = lost ? [] : await absentOn(store, ostId);
    if (absent.length > 0) {
      throw new RawstorError('BUSY', `OST ${ostId} may have clones that stayed out of a rebuild`, {
        where: absent.join(', '),
        hint: 'rebuild the metadata with it (`rawstor mds rebuild`); or stop it, then `rawstor ost rm --lost` gives them up',
      });
    }
    if (lost) await forgetAbsent(store, ostId);
    await osts.mark(ostId, { removed: true });
    // It confirms nothing any more.
    const copies = this.leftCopies.pending(ostId, Number.POSITIVE_INFINITY);
    await this.leftCopies.confirm(
      ostId,
      copies.map(({ id }) => id),
    );
    await tombstones.confirm(ostId, tombstones.pending(ostId, Number.POSITIVE_INFINITY));
    return {};
  }

  async confirmLeft({ ostId, objects }: Params<'mds.confirmLeft'>): Promise<Result<'mds.confirmLeft'>> {
    await this.leftCopies.confirm(ostId, objects);
    return {};
  }

  async objectsOn({ ostId, after, limit }: Params<'mds.objectsOn'>): Promise<Result<'mds.objectsOn'>> {
    const found = await this.on.page(ostId, after, limit);
    return { objects: fitting(found.map((stored) => this.parts.info(stored))) };
  }

  /** @throws RawstorError NOT_FOUND, UNSATISFIABLE, INVALID, BUSY */
  async move({ id, from, to, dryRun }: Params<'mds.move'>): Promise<Result<'mds.move'>> {
    const { objects, serial } = this.parts;
    return serial.run(id, async () => {
      let wanted!: WantedMove;
      await objects.update(id, (stored) => {
        const { wanted: before, object } = stored;
        if (before !== null && this.stands(stored, before, from, to)) {
          wanted = before;
          return null;
        }
        const excluded = (ostId: string) =>
          stored.left.includes(ostId) || this.leftCopies.has(ostId, id) || before?.to === ostId
            ? 'has an older copy of it to delete first'
            : null;
        const target = chooseTarget(object, { from, to }, this.parts.osts.candidates(), excluded);
        const map = mapWith(object, from, target);
        const sinceWallMs = this.parts.clock.wallMs();
        wanted = { id: newId(sinceWallMs), from, to: target.ostId, map, sinceWallMs };
        if (dryRun) return null;
        return { ...stored, wanted, left: before === null ? stored.left : [...stored.left, before.to] };
      });
      if (!dryRun) this.parts.look(id, `a move to OST ${wanted.to} is wanted`);
      return { wanted };
    });
  }

  /** @throws RawstorError NOT_FOUND */
  async cancelMove({ id }: Params<'mds.cancelMove'>): Promise<Result<'mds.cancelMove'>> {
    const { objects, serial } = this.parts;
    await serial.run(id, () =>
      objects.update(id, (stored) => {
        const { wanted, left } = stored;
        return wanted === null ? null : { ...stored, wanted: null, left: [...left, wanted.to] };
      }),
    );
    this.parts.look(id, 'a move is not wanted any more');
    return {};
  }

  /** @throws RawstorError NOT_FOUND, FENCED, INVALID */
  async moveStored(params: Params<'mds.moveStored'>): Promise<Result<'mds.moveStored'>> {
    const { id, sessionEpoch, ostIds } = params;
    const { objects, serial } = this.parts;
    await serial.run(id, async () => {
      let puts: ReturnType<typeof putLeft>[] = [];
      await objects.update(
        id,
        (stored) => {
          checkCurrent(stored, sessionEpoch);
          // The writer may have moved it since the records that it was rebuilt from: its next change says so.
          if (isRebuilt(stored)) return null;
          const { object, left } = stored;
          const gone = left.filter((ostId) => ostIds.includes(ostId));
          puts = gone.map((ostId) => putLeft(ostId, id, object.epoch));
          if (gone.length === 0) return null;
          return { ...stored, left: left.filter((ostId) => !gone.includes(ostId)) };
        },
        () => puts,
      );
      if (puts.length > 0) this.parts.onLeft(id, ostIds);
    });
    return {};
  }

  /** @throws RawstorError NOT_FOUND, BUSY, INVALID, UNAVAILABLE, NOT_SUPPORTED */
  async giveUpCopy({ id, ostId }: Params<'mds.giveUpCopy'>): Promise<Result<'mds.giveUpCopy'>> {
    const { objects, serial, leases } = this.parts;
    await serial.run(id, async () => {
      await objects.update(id, (stored) => {
        if (leases.isHeld(stored)) {
          throw new RawstorError('BUSY', `'${stored.object.name}' is in use`, {
            where: stored.session.holder,
            hint: 'what it waits for is not coming back: end its guest, then try again',
          });
        }
        const candidates = this.parts.osts.candidates();
        const refused = (to: string) => (this.leftCopies.has(to, id) ? 'has an older copy of it' : null);
        return withoutCopy(stored, ostId, candidates, refused, this.parts.clock.wallMs());
      });
      leases.release(id);
    });
    return {};
  }

  /** A wish is left alone while it can be carried out, unless somebody names another target. */
  private stands(stored: StoredObject, before: WantedMove, from: string | null, to: string | null): boolean {
    const alive = this.parts.osts.candidates().find(({ info }) => info.ostId === before.to);
    const possible = alive?.alive === true && alive.draining !== true && hasRoomForMove(alive);
    if (!possible) return false;
    if (before.from === from && (to === null || to === before.to)) return true;
    throw new RawstorError('BUSY', `'${stored.object.name}' is being moved to OST ${before.to}`, {
      hint: 'one move of an object at a time: wait until it is done',
    });
  }
}
