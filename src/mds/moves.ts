import type { Clock } from '../common/clock.js';
import { RawstorError } from '../common/errors.js';
import { newId } from '../common/ids.js';
import { placeChunk } from '../common/placement.js';
import type { Member, ObjectInfo, Params, RecoveryProgress, Result, WantedMove } from '../protocol/index.js';
import { fitting } from './answers.js';
import { checkCurrent, nextEpoch } from './in-sync-sets.js';
import type { Leases } from './leases.js';
import { LeftCopies, putLeft } from './left-copies.js';
import { everywhere, type Objects } from './objects.js';
import type { Osts } from './osts.js';
import { chooseTarget, mapWith } from './replace.js';
import type { Serial } from './serial.js';
import type { MetadataStore } from './store.js';
import type { StoredObject } from './stored-object.js';

export interface MovesParts {
  readonly store: MetadataStore;
  readonly clock: Clock;
  readonly objects: Objects;
  readonly osts: Osts;
  readonly leases: Leases;
  readonly serial: Serial;
  readonly info: (stored: StoredObject) => ObjectInfo;
  /** These OSTs have copies to delete. */
  readonly onLeft: (objectId: string, ostIds: readonly string[]) => void;
}

/** Chunks looked at for one that would be lost. */
const CHUNKS_SEARCHED = 1 << 20;
const PAGE = 200;

/**
 * Moving objects from OST to OST. The MDS only says what is wanted and where to; the object's writer copies, and
 * takes the new map by a compare-and-swap of the set. What is left behind is deleted when a writer has said that
 * every OST in sync knows the new map.
 */
export class Moves {
  private readonly parts: MovesParts;
  private readonly leftCopies: LeftCopies;
  /** As holders told last, by object. */
  private readonly told = new Map<string, readonly RecoveryProgress[]>();

  constructor(parts: MovesParts) {
    this.parts = parts;
    this.leftCopies = new LeftCopies(parts.store);
  }

  start(): Promise<void> {
    return this.leftCopies.start();
  }

  leftOn(ostId: string, limit: number): { id: string; epoch: number }[] {
    return this.leftCopies.pending(ostId, limit);
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

  /** @throws RawstorError NOT_FOUND, BUSY */
  async removeOst({ ostId }: Params<'mds.removeOst'>): Promise<Result<'mds.removeOst'>> {
    const { osts } = this.parts;
    // First, so that nothing is placed there meanwhile.
    await osts.mark(ostId, { draining: true });
    const [first] = (await this.objectsOn({ ostId, after: '', limit: 1 })).objects;
    if (first !== undefined) {
      throw new RawstorError('BUSY', `OST ${ostId} still has copies: of '${first.name}' for one`, {
        hint: 'move them first: `rawstor ost drain`, or `rawstor ost rm --lost` when it is gone for good',
      });
    }
    await osts.mark(ostId, { removed: true });
    const copies = this.leftCopies.pending(ostId, Number.POSITIVE_INFINITY);
    await this.leftCopies.confirm(
      ostId,
      copies.map(({ id }) => id),
    );
    return {};
  }

  async confirmLeft({ ostId, objects }: Params<'mds.confirmLeft'>): Promise<Result<'mds.confirmLeft'>> {
    await this.leftCopies.confirm(ostId, objects);
    return {};
  }

  async objectsOn({ ostId, after, limit }: Params<'mds.objectsOn'>): Promise<Result<'mds.objectsOn'>> {
    let last = after;
    for (;;) {
      const page = await this.parts.objects.list(last, PAGE);
      if (page.length === 0) return { objects: [] };
      const found = page.filter((stored) => everywhere(stored).includes(ostId)).slice(0, limit);
      if (found.length > 0) return { objects: fitting(found.map((stored) => this.parts.info(stored))) };
      last = page.at(-1)!.object.name;
    }
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
        return this.withoutCopy(stored, ostId);
      });
      leases.release(id);
    });
    return {};
  }

  /** A wish is left alone while it can be carried out, unless somebody names another target. */
  private stands(stored: StoredObject, before: WantedMove, from: string | null, to: string | null): boolean {
    const alive = this.parts.osts.candidates().find(({ info }) => info.ostId === before.to);
    const possible = alive?.alive === true && alive.draining !== true;
    if (!possible) return false;
    if (before.from === from && (to === null || to === before.to)) return true;
    throw new RawstorError('BUSY', `'${stored.object.name}' is being moved to OST ${before.to}`, {
      hint: 'one move of an object at a time: wait until it is done',
    });
  }

  /**
   * What is left: an older copy becomes the newest, or nothing does and zeros are. Either is a loss on record.
   */
  private withoutCopy(stored: StoredObject, ostId: string): StoredObject | null {
    const { object, session } = stored;
    const { map, name: where } = object;
    if (!isOnlyCopy(stored, ostId)) return null;
    const epoch = nextEpoch(object);
    const lossWallMs = stored.lossWallMs ?? this.parts.clock.wallMs();
    const next = { ...stored, lossWallMs, session: { ...session, epoch, open: false }, clean: false };
    if (object.replicas > 1 && map.rule !== 'fixed') {
      throw new RawstorError('NOT_SUPPORTED', 'some chunks would be older than others of the same OST', {
        where,
        hint: 'export what can be read, remove the volume and create it anew',
      });
    }
    const others = object.members.filter((member) => member.state === 'stale' && member.ostId !== ostId);
    const older = others.find((member) => this.parts.osts.isAlive(member.ostId));
    if (older === undefined && others.length > 0 && object.replicas > 1) {
      throw new RawstorError('UNAVAILABLE', `OST ${others[0]!.ostId} has an older copy, and is away`, {
        where,
        hint: 'start it, then try again',
      });
    }
    if (older !== undefined) {
      const lastSeal = Math.min(object.lastSeal, Math.max(0, older.staleSince - 1));
      const members = object.members.map((member): Member => {
        if (member === older) return { ...member, state: 'in-sync', staleSince: 0 };
        const since = member.state === 'stale' ? Math.min(member.staleSince, lastSeal + 1) : lastSeal + 1;
        return { ...member, state: 'stale', staleSince: since };
      });
      return { ...next, object: { ...object, epoch, lastSeal, lossEpoch: epoch, members } };
    }
    const excluded = (to: string) => (this.leftCopies.has(to, object.id) ? 'has an older copy of it' : null);
    const target = chooseTarget(object, { from: ostId, to: null }, this.parts.osts.candidates(), excluded);
    const members = object.members.map(
      (member): Member =>
        member.ostId === ostId
          ? { ostId: target.ostId, state: 'in-sync', bootId: null, staleSince: 0 }
          : member,
    );
    const moved = { ...object, epoch, lossEpoch: epoch, members, map: mapWith(object, ostId, target) };
    const dropped = stored.wanted === null ? [] : [stored.wanted.to];
    return { ...next, wanted: null, left: [...stored.left, ...dropped], object: moved };
  }
}

/** Some chunk has no other replica in sync. */
export function isOnlyCopy({ object }: Pick<StoredObject, 'object'>, ostId: string): boolean {
  const { map, id, replicas, members } = object;
  const others = new Set(
    members.filter((m) => m.state === 'in-sync' && m.ostId !== ostId).map((m) => m.ostId),
  );
  if (map.rule === 'fixed' && map.exceptions.length === 0) return others.size === 0;
  const chunks = Math.min(CHUNKS_SEARCHED, Math.ceil(object.sizeBytes / object.chunkSizeBytes));
  for (let chunk = 0; chunk < chunks; chunk++) {
    const placed = placeChunk(map, id, replicas, chunk);
    if (placed.includes(ostId) && !placed.some((other) => others.has(other))) return true;
  }
  return false;
}
