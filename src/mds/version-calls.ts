import type { Clock } from '../common/clock.js';
import { ERROR_CODES, type ErrorCode, RawstorError } from '../common/errors.js';
import type { Random } from '../common/random.js';
import type {
  AskedChange,
  ObjectInfo,
  ObjectRecord,
  Params,
  Result,
  VersionChange,
} from '../protocol/index.js';
import { AskedChanges } from './asked-changes.js';
import type { Catalog } from './catalog.js';
import { checkDepth, cloneRecord } from './clone.js';
import { checkCurrent } from './in-sync-sets.js';
import type { Caller, Leases } from './leases.js';
import { type NamedChild, newObjectId, type Objects } from './objects.js';
import type { Serial } from './serial.js';
import type { StoredObject } from './stored-object.js';
import { changedVersions, type TreeFacts } from './version-tree.js';
import { changeVersions } from './versions.js';

export interface VersionCallsParts {
  readonly clock: Clock;
  readonly random: Random;
  readonly objects: Objects;
  readonly catalog: Catalog;
  readonly leases: Leases;
  readonly serial: Serial;
  /** Tells the object's holder that there is something new. */
  readonly look: (id: string, reason: string) => void;
  readonly info: (stored: StoredObject) => ObjectInfo;
}

/** What an MDS answers about snapshots, clones and sizes: docs/snapshots.md. */
export class VersionCalls {
  private readonly parts: VersionCallsParts;
  private readonly asked: AskedChanges;

  constructor(parts: VersionCallsParts) {
    this.parts = parts;
    const { clock, look } = parts;
    this.asked = new AskedChanges({ clock, look, isHeld: (id) => this.isHeld(id) });
  }

  /** For the answer of a renewal. */
  first(id: string): AskedChange | null {
    return this.asked.first(id);
  }

  /** The session has ended: nobody holds the object. */
  released(id: string): void {
    this.asked.released(id);
  }

  lost(caller: Caller): void {
    this.asked.lost(caller);
  }

  /** @throws RawstorError NOT_FOUND, FENCED, CONFLICT, EXISTS, BUSY, LIMIT, INVALID */
  async change(params: Params<'mds.changeVersions'>): Promise<Result<'mds.changeVersions'>> {
    const { id, askedId } = params;
    const { objects, serial, info, catalog } = this.parts;
    return serial.run(id, async () => {
      if (params.change.kind === 'remove') await catalog.checkUnreferenced(id, id, params.change.version);
      let recorded: ObjectInfo | null = null;
      let epoch = 0;
      try {
        const ofVersion = versionToRemove(params.change);
        const stored = await objects.updateTree(id, ofVersion, (before, children) => {
          const result = changeVersions(before, params, this.facts(children));
          epoch = result.epoch;
          const wanted = result.stored === null || askedId === undefined || this.asked.begin(id, askedId);
          if (wanted) return result.stored;
          throw new RawstorError('NOT_FOUND', 'nobody waits for that change any more', {
            where: before.object.name,
          });
        });
        recorded = { ...info(stored), epoch };
        return { object: recorded };
      } finally {
        if (askedId !== undefined) this.asked.end(id, askedId, recorded);
      }
    });
  }

  /** @throws RawstorError TIMEOUT, NOT_FOUND, EXISTS, BUSY, LIMIT, INVALID, what the holder refuses it with */
  async ask(params: Params<'mds.askChange'>, caller: Caller): Promise<Result<'mds.askChange'>> {
    const { change, timeoutMs } = params;
    const { objects, leases } = this.parts;
    const id = await objects.resolve(params.ref);
    const { stored } = await objects.load(id);
    if (isWritersOwn(change)) {
      throw new RawstorError('INVALID', `only the writer knows when a version is ${change.kind}`);
    }
    // What cannot be is said at once; the change itself is checked again, when what was cut off before is erased.
    const children = await objects.childrenOfVersion(id, versionToRemove(change));
    changedVersions({ ...stored.object, tailBytes: 0 }, change, this.facts(children));
    if (!leases.isHeld(stored)) return { object: null };
    return { object: await this.asked.ask(id, change, timeoutMs, caller) };
  }

  /** @throws RawstorError NOT_FOUND, FENCED */
  async refuse(params: Params<'mds.refuseChange'>): Promise<Result<'mds.refuseChange'>> {
    const { id, sessionEpoch, askedId, reason } = params;
    const { stored } = await this.parts.objects.load(id);
    checkCurrent(stored, sessionEpoch);
    const code = params.code in ERROR_CODES ? (params.code as ErrorCode) : 'INTERNAL';
    this.asked.refuse(id, askedId, code, reason);
    return {};
  }

  /** @throws RawstorError NOT_FOUND, EXISTS, INVALID, LIMIT */
  async clone(params: Params<'mds.clone'>): Promise<Result<'mds.clone'>> {
    const { objects, serial, clock, random, info } = this.parts;
    const parentId = await objects.resolve(params.ref);
    return serial.run(parentId, async () => {
      const stored = await objects.createChild(parentId, async (parent) => {
        const record = cloneRecord(parent, params, newObjectId(clock, random), clock.wallMs());
        await checkDepth(parent, params.version, (below) => this.recordOf(below));
        return record;
      });
      return info(stored);
    });
  }

  /** @throws RawstorError NOT_FOUND */
  async children({ ref }: Params<'mds.children'>): Promise<Result<'mds.children'>> {
    const { objects } = this.parts;
    const { id } = (await objects.find(ref)).object;
    return { children: await objects.children(id, CHILDREN_TOLD) };
  }

  private facts(children: readonly NamedChild[]): TreeFacts {
    return { nowWallMs: this.parts.clock.wallMs(), children };
  }

  private async isHeld(id: string): Promise<boolean> {
    const { objects, leases } = this.parts;
    return leases.isHeld((await objects.load(id)).stored);
  }

  private async recordOf(id: string): Promise<ObjectRecord | null> {
    try {
      return (await this.parts.objects.load(id)).stored.object;
    } catch (error) {
      if (error instanceof RawstorError && error.code === 'NOT_FOUND') return null;
      throw error;
    }
  }
}

const CHILDREN_TOLD = 10_000;

/** Clones count for its removal alone, and there may be thousands. */
function versionToRemove(change: VersionChange): number | null {
  return change.kind === 'remove' ? change.version : null;
}

/** Steps of what somebody asks for, or of a clean-up: nobody asks for them. */
function isWritersOwn(change: VersionChange): boolean {
  if (change.kind === 'snapshot') return change.ahead === true;
  return change.kind === 'forget' || change.kind === 'sealed' || change.kind === 'abandoned';
}
