import type { Clock } from '../common/clock.js';
import type { Params } from '../protocol/index.js';
import type { Catalog } from './catalog.js';
import { nextEpoch } from './in-sync-sets.js';
import type { Leases } from './leases.js';
import type { Objects, Removal } from './objects.js';
import { busy, checkClosed, checkNothingOver, mayWrite } from './open-checks.js';
import type { Serial } from './serial.js';
import type { StoredObject } from './stored-object.js';
import { validateName } from './validate.js';

export interface NamingParts {
  readonly objects: Objects;
  readonly serial: Serial;
  readonly clock: Clock;
  readonly leases: Leases;
  readonly catalog: Pick<Catalog, 'checkUnreferenced'>;
  /** An object is there no more, as its record was last. */
  gone(removed: StoredObject): void;
}

/** Other names for objects, and their removal. */
export class Naming {
  private readonly parts: NamingParts;

  constructor(parts: NamingParts) {
    this.parts = parts;
  }

  /**
   * Gives an object another name. It is of a new epoch, so that OSTs that keep the older record are outvoted (I13). A
   * writer whose lease has lapsed may still live, and would take that epoch for somebody else's change of the set: first
   * it has to be closed. What is replaced is removed in the same step, if it has that name.
   * @throws RawstorError NOT_FOUND, EXISTS, INVALID, BUSY
   */
  async rename({ ref, name, replaces, unseenSession }: Params<'mds.rename'>): Promise<StoredObject> {
    const { objects } = this.parts;
    validateName(name);
    const id = await objects.resolve(ref);
    const changed = (before: StoredObject) => {
      checkClosed(before);
      return { ...before.object, name, epoch: nextEpoch(before.object) };
    };
    if (replaces === undefined || replaces === id) {
      return this.alone([id], () => objects.rename(id, name, changed));
    }
    return this.alone([id, replaces], async () => {
      await this.parts.catalog.checkUnreferenced(replaces, name);
      const removal = this.removal(replaces, false, unseenSession);
      const renamed = await objects.rename(id, name, changed, removal);
      if (removal.seen !== null) this.parts.gone(removal.seen);
      return renamed;
    });
  }

  /** @throws RawstorError NOT_FOUND, BUSY */
  async remove({ ref, force, unseenSession }: Params<'mds.remove'>): Promise<void> {
    const { objects, catalog } = this.parts;
    const id = await objects.resolve(ref);
    await this.alone([id], async () => {
      await catalog.checkUnreferenced(id, ref);
      this.parts.gone(await objects.remove(this.removal(id, force, unseenSession)));
    });
  }

  private removal(
    id: string,
    force: boolean,
    unseenSession: number | undefined,
  ): Removal & { seen: StoredObject | null } {
    const { leases, clock } = this.parts;
    const removal: Removal & { seen: StoredObject | null } = {
      id,
      nowWallMs: clock.wallMs(),
      seen: null,
      check: (stored, clones) => {
        checkNothingOver(stored, clones);
        const held = leases.isHeld(stored) && !stored.session.yields;
        const inUse = held || mayWrite(stored, unseenSession);
        if (!force && inUse) throw busy(stored, 'remove it all the same');
        removal.seen = stored;
      },
    };
    return removal;
  }

  /** Two at a time always in the same order, or each would wait for the other. */
  private alone<T>(ids: readonly string[], action: () => Promise<T>): Promise<T> {
    const { serial } = this.parts;
    const sorted = [...ids].sort().reverse();
    return sorted.reduce((inner, id) => () => serial.run(id, inner), action)();
  }
}
