import type { Clock } from '../common/clock.js';
import type { Logger } from '../common/log.js';
import type { Random } from '../common/random.js';
import type { ChunkMap, Notice, ObjectInfo, Params, Result } from '../protocol/index.js';
import { fitting, objectInfo, openedAnswer, placements } from './answers.js';
import { AwakeTime } from './awake-time.js';
import { Catalog } from './catalog.js';
import { Collect } from './collect.js';
import { dumpPage } from './dump.js';
import { HandOvers } from './hand-overs.js';
import { changeMembers, checkCurrent, isRebuilt, seal } from './in-sync-sets.js';
import { type Caller, DEFAULT_LEASE_TIMES, Leases, type LeaseTimes } from './leases.js';
import { Moves } from './moves.js';
import { Naming } from './naming.js';
import { withKept } from './next-members.js';
import { everywhere, newObjectId, Objects } from './objects.js';
import { busy, checkNoneSince, isOthers, withSession } from './open-checks.js';
import { Osts } from './osts.js';
import { place } from './place.js';
import { Serial } from './serial.js';
import type { MetadataStore } from './store.js';
import { newObjectRecord, type StoredObject, withoutLoss } from './stored-object.js';
import { swap } from './swap.js';
import { Tombstones } from './tombstones.js';
import { validateCreate } from './validate.js';
import { VersionCalls } from './version-calls.js';

export interface MdsOptions {
  readonly store: MetadataStore;
  readonly clusterId: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly leaseTimes?: LeaseTimes;
  /** Of the process, for `stat`. */
  readonly loopStallMaxMs?: () => number;
  /** An OST that nobody has heard of for so long is replaced where there is room; 0, the default: never. */
  readonly replaceAfterMs?: number;
  readonly log?: Logger;
  /** Told when an object was removed, so that its OSTs can be told before they ask. */
  readonly onRemoved?: (objectId: string, ostIds: readonly string[]) => void;
  /** Tells the holder of a lease; nothing depends on that it arrives. */
  readonly onNotice?: (caller: Caller, notice: Notice) => void;
}

/** Removed objects told an OST at a time. */
const TOMBSTONES_PER_ANSWER = 1000;

/**
 * The metadata server without its sockets: one method for each call of MDS_METHODS, named like it. All that
 * must survive is in the store before a method answers. `caller` stands for the connection of who asks.
 */
export class Mds {
  readonly clusterId: string;
  readonly moves: Moves;
  readonly collect: Collect;
  /** What facades keep. */
  readonly catalog: Catalog;
  readonly versions: VersionCalls;
  private readonly time: AwakeTime;
  private readonly options: MdsOptions;
  private readonly objects: Objects;
  private readonly osts: Osts;
  private readonly tombstones: Tombstones;
  private readonly leases: Leases;
  private readonly handOvers: HandOvers;
  private readonly serial = new Serial();
  private readonly naming: Naming;
  private readonly onRemoved: (objectId: string, ostIds: readonly string[]) => void;

  private constructor(options: MdsOptions) {
    this.clusterId = options.clusterId;
    this.options = options;
    this.objects = new Objects(options.store, options.log);
    this.time = new AwakeTime(options.clock);
    this.osts = new Osts({ ...options, time: this.time });
    this.tombstones = new Tombstones(options.store, options.clock, options.log);
    this.leases = new Leases(this.time, options.leaseTimes ?? DEFAULT_LEASE_TIMES);
    this.onRemoved = options.onRemoved ?? (() => {});
    const { objects, osts, leases, serial, tombstones, onRemoved } = this;
    const info = (stored: StoredObject) => this.info(stored);
    const look = (id: string, reason: string) => this.notify(id, 'look', reason);
    this.handOvers = new HandOvers(options.clock, look);
    const parts = { objects, osts, tombstones, leases, serial, info, look, onLeft: onRemoved };
    const moves = (this.moves = new Moves({ ...options, ...parts }));
    this.collect = new Collect({ objects, tombstones, moves, serial, onLeft: onRemoved });
    const catalog = (this.catalog = new Catalog({ ...options, objects, serial }));
    this.naming = new Naming({ ...options, ...parts, catalog, gone: (removed) => this.gone(removed) });
    this.versions = new VersionCalls({ ...options, catalog, objects, leases, serial, info, look });
  }

  /** Reads what earlier runs left in the store. @throws RawstorError BAD_DATA */
  static async start(options: MdsOptions): Promise<Mds> {
    const mds = new Mds(options);
    const { objects, osts, tombstones, moves, catalog } = mds;
    for (const part of [objects, osts, tombstones, moves, catalog.recovery]) await part.start();
    // What is given to others to come back counts from when they can, however long the reading took.
    for (const part of [mds.leases, osts]) part.begin();
    return mds;
  }

  end(): Promise<void> {
    this.time.close();
    return this.moves.close();
  }

  /** The connection is gone: its leases lapse soon and its OST counts as lost. */
  lost(caller: Caller): void {
    this.leases.lost(caller);
    this.osts.lost(caller);
    this.versions.lost(caller);
  }

  async registerOst(info: Params<'mds.registerOst'>, caller: Caller): Promise<Result<'mds.registerOst'>> {
    const again = this.osts.isOver(info.ostId, caller);
    const { draining } = await this.osts.register(info, caller);
    if (!again) for (const id of this.leases.objects()) this.notify(id, 'look', `OST ${info.ostId} is there`);
    const deletedObjects = this.tombstones.pending(info.ostId, TOMBSTONES_PER_ANSWER);
    const leftObjects = this.moves.leftOn(info.ostId, TOMBSTONES_PER_ANSWER);
    return { clusterId: this.clusterId, deletedObjects, leftObjects, draining };
  }

  async confirmDeleted(asked: Params<'mds.confirmDeleted'>): Promise<Result<'mds.confirmDeleted'>> {
    await this.tombstones.confirm(asked.ostId, asked.objects);
    return {};
  }

  async listOsts(): Promise<Result<'mds.listOsts'>> {
    return { osts: this.osts.told() };
  }

  async getFreeOst({ sizeBytes, count }: Params<'mds.getFreeOst'>): Promise<Result<'mds.getFreeOst'>> {
    return { osts: this.osts.withRoom(sizeBytes, count) };
  }

  /** @throws RawstorError INVALID, EXISTS, UNSATISFIABLE */
  async createObject(spec: Params<'mds.createObject'>): Promise<Result<'mds.createObject'>> {
    validateCreate(spec);
    await this.objects.checkNameFree(spec.name);
    const id = newObjectId(this.options.clock, this.options.random);
    const create = (map: ChunkMap) =>
      this.objects.create(newObjectRecord(id, spec, map, this.options.clock.wallMs()));
    return this.info(await place(spec, this.osts, id, create));
  }

  async getObj({ ref }: Params<'mds.getObj'>): Promise<Result<'mds.getObj'>> {
    return this.info(await this.objects.find(ref));
  }

  /** Fewer chunks than asked when they would not fit one message, or at the object's end. */
  async getObjPart(params: Params<'mds.getObjPart'>): Promise<Result<'mds.getObjPart'>> {
    const { object } = await this.objects.find(params.ref);
    return { chunks: placements(object, params.fromChunk, params.count) };
  }

  /** Fewer than asked when they would not fit one message; an empty answer is the end. */
  async list({ after, limit }: Params<'mds.list'>): Promise<Result<'mds.list'>> {
    const found = await this.objects.list(after, limit);
    return { objects: fitting(found.map((stored) => this.info(stored))) };
  }

  /** @throws RawstorError NOT_FOUND, EXISTS, INVALID, BUSY */
  async rename(params: Params<'mds.rename'>): Promise<Result<'mds.rename'>> {
    return this.info(await this.naming.rename(params));
  }

  /** @throws RawstorError NOT_FOUND, BUSY */
  async remove(params: Params<'mds.remove'>): Promise<Result<'mds.remove'>> {
    await this.naming.remove(params);
    return {};
  }

  private gone(removed: StoredObject): void {
    const { id } = removed.object;
    this.notify(id, 'fenced', 'the object was removed');
    this.leases.release(id);
    this.versions.released(id);
    this.moves.progressed(id, []);
    this.onRemoved(id, everywhere(removed));
  }

  /**
   * For read: the epoch of the current session, so that a reader that attaches with it fences nobody.
   * @throws RawstorError NOT_FOUND, BUSY
   */
  async open(params: Params<'mds.open'>, caller: Caller): Promise<Result<'mds.open'>> {
    const id = await this.objects.resolve(params.ref);
    if (params.mode === 'read') {
      const { stored } = await this.objects.load(id);
      return this.opened(stored, stored.clean);
    }
    return this.serial.run(id, async () => {
      let wasClean = false;
      const next = await this.objects.update(id, (stored) => {
        checkNoneSince(stored, params);
        if (isOthers(stored, params, this.leases.isHeld(stored)) && !params.force) {
          if (params.handOver === true) this.handOvers.ask(id, params.holder);
          throw busy(stored, 'take it over');
        }
        wasClean = stored.clean;
        return withSession(stored, params, this.options.clock.wallMs());
      });
      this.notify(id, 'fenced', `'${params.holder}' opened it (session ${next.session.epoch})`);
      this.leases.take(id, next.session.epoch, caller);
      this.handOvers.taken(id);
      return this.opened(next, wasClean);
    });
  }

  /** Tells whoever holds the object's lease, over the connection that renewed it last. */
  notify(id: string, what: 'look' | 'fenced', reason: string): void {
    const holder = this.leases.holderOf(id);
    if (holder === null) return;
    this.options.onNotice?.(holder.caller, { id, sessionEpoch: holder.sessionEpoch, what, reason });
  }

  /** @throws RawstorError NOT_FOUND, FENCED */
  async renew(params: Params<'mds.renew'>, caller: Caller): Promise<Result<'mds.renew'>> {
    const { id, sessionEpoch, recovery = [], toldLossEpoch = 0 } = params;
    return this.serial.run(id, async () => {
      const stored = await this.objects.update(id, (before) => {
        checkCurrent(before, sessionEpoch);
        return toldLossEpoch > (before.toldLossEpoch ?? 0) ? { ...before, toldLossEpoch } : null;
      });
      if (!this.leases.renew(id, sessionEpoch, caller)) this.leases.take(id, sessionEpoch, caller);
      this.moves.progressed(id, recovery);
      const { wanted, left } = stored;
      const asked = this.versions.first(id);
      const handOver = this.handOvers.isAsked(id);
      return { osts: this.osts.pick(everywhere(stored)), wanted, left, asked, handOver };
    });
  }

  /** @throws RawstorError NOT_FOUND, FENCED, CONFLICT, INVALID */
  async changeMembers(params: Params<'mds.changeMembers'>): Promise<Result<'mds.changeMembers'>> {
    const { serial, objects } = this;
    return swap({ serial, objects }, params.id, (stored) =>
      changeMembers(stored, params, this.options.clock.wallMs()),
    );
  }

  /** @throws RawstorError NOT_FOUND, FENCED, CONFLICT, INVALID */
  async seal(params: Params<'mds.seal'>): Promise<Result<'mds.seal'>> {
    return swap({ serial: this.serial, objects: this.objects }, params.id, (stored) => seal(stored, params));
  }

  /** Again after it was answered: no change. @throws RawstorError NOT_FOUND, FENCED */
  async close(params: Params<'mds.close'>): Promise<Result<'mds.close'>> {
    const { id, sessionEpoch, clean } = params;
    await this.serial.run(id, async () => {
      await this.objects.update(id, (stored) => {
        checkCurrent(stored, sessionEpoch, 'closed');
        if (!stored.session.open) return null;
        const session = { ...stored.session, open: false };
        // What an adopted writer calls clean is said of seals that this MDS may not know.
        if (isRebuilt(stored)) return { ...stored, clean: false, session };
        const members = withKept(stored.object.members, params.members);
        return { ...stored, object: { ...stored.object, members }, clean, session };
      });
      this.leases.release(id);
      this.versions.released(id);
      this.moves.progressed(id, []);
    });
    return {};
  }

  async acknowledgeLoss({ ref }: Params<'mds.acknowledgeLoss'>): Promise<Result<'mds.acknowledgeLoss'>> {
    const id = await this.objects.resolve(ref);
    await this.serial.run(id, () => this.objects.update(id, withoutLoss));
    return {};
  }

  /** Records change meanwhile: each line is of one moment, the whole is not. */
  dump({ after }: Params<'mds.dump'>): Promise<Result<'mds.dump'>> {
    return dumpPage(this.options.store, this.catalog.recovery, after);
  }

  async stat(): Promise<Result<'mds.stat'>> {
    const { clusterId, objects, osts, leases, options } = this;
    const loopStallMaxMs = options.loopStallMaxMs?.() ?? 0;
    return { clusterId, objects: objects.count, osts: osts.count, leases: leases.count, loopStallMaxMs };
  }

  private opened(stored: StoredObject, wasClean: boolean): Result<'mds.open'> {
    const osts = this.osts.pick(everywhere(stored));
    return openedAnswer(stored, this.info(stored), { wasClean, leaseMs: this.leases.leaseMs, osts });
  }

  private info(stored: StoredObject): ObjectInfo {
    const held = this.leases.isHeld(stored);
    return objectInfo(stored, held, held ? this.moves.progress(stored.object.id) : []);
  }
}
