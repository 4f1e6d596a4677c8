import { asRawstorError, RawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import {
  type BootId,
  type ChunkOp,
  type ObjectRecord,
  Opcode,
  OpScope,
  STATUS_STALE_SESSION,
} from '../protocol/index.js';
import { Attaching } from './attaching.js';
import { Boot } from './boot.js';
import type { Checksums } from './checksums/checksums.js';
import { Damage } from './checksums/damage.js';
import { Integrity } from './checksums/integrity.js';
import { Rereads } from './checksums/rereads.js';
import { ChunkCache } from './chunk-cache.js';
import { DeferredAnswers } from './deferred-answers.js';
import { openFilesWithin } from './descriptors.js';
import { DirtyTracker } from './dirty.js';
import { DirtyWatch } from './dirty-watch.js';
import type { OstEnvironment } from './environment.js';
import { IntentLog } from './intents.js';
import { judge } from './judge.js';
import {
  anyLayered,
  asFirstKnown,
  hasVersion,
  Layers,
  overOf,
  Settling,
  sharesParent,
} from './layers/index.js';
import { OstObject } from './object.js';
import { Operation } from './operation.js';
import type { Records } from './records.js';
import { RegionMirror } from './regions.js';
import { Removal } from './removal.js';
import { Session, type SessionHolder } from './session.js';
import { SpaceGuard } from './space.js';
import type { ChunkStorage } from './storage.js';
import type { Change } from './store.js';
import { Traffic } from './traffic.js';
import type { OstTuning } from './tuning.js';

/** The storage target itself: sessions, operations, chunk files. Knows nothing of sockets or replicas. */
export class OstCore {
  readonly ostId: string;
  readonly env: OstEnvironment;
  readonly storage: ChunkStorage;
  readonly records: Records;
  readonly dirty: DirtyTracker;
  readonly regions: RegionMirror;
  readonly intents: IntentLog;
  readonly space: SpaceGuard;
  readonly chunks: ChunkCache;
  readonly objects = new Map<string, OstObject>();
  readonly removal: Removal;
  /** Also where checksums are off: what is known to be bad is given to nobody. */
  readonly damage: Damage;
  /** Null where checksums are off. */
  readonly integrity: Integrity | null;
  readonly checksums: Checksums | null;
  readonly rereads: Rereads;
  /** Data operations taken so far, for those who work when nobody else does. */
  operations = 0;
  readonly boot: Boot;
  private readonly sessions = new Map<number, Session>();
  private readonly freeOperations: Operation[] = [];
  readonly traffic = new Traffic();
  readonly layers: Layers;
  readonly attaching: Attaching;
  private readonly settling = new Settling(this);
  private readonly answers: DeferredAnswers;
  private nextHandle = 1;
  closing = false;

  constructor(
    ostId: string,
    env: OstEnvironment,
    storage: ChunkStorage,
    records: Records,
    tuning: OstTuning,
  ) {
    this.ostId = ostId;
    this.env = env;
    this.storage = storage;
    this.records = records;
    this.answers = new DeferredAnswers(env.io);
    this.dirty = new DirtyTracker(tuning, new DirtyWatch(env.clock, env.dirtyCounters));
    this.regions = new RegionMirror(records, tuning.regionPages);
    this.space = new SpaceGuard(storage, tuning.capacityBytes, tuning.reserveBytes);
    this.boot = new Boot(
      env,
      storage,
      records,
      () => this.chunks.open(),
      () => anyLayered(this),
    );
    this.layers = new Layers(this, tuning.layerMaps);
    this.attaching = new Attaching(this);
    this.chunks = new ChunkCache(this, openFilesWithin(tuning.openFiles), (reason) => this.lose(reason));
    this.removal = new Removal(this);
    this.damage = new Damage(env.log, env.clock, records, (changes) => this.commit(changes));
    this.integrity = tuning.checksums ? new Integrity(this, tuning) : null;
    this.checksums = this.integrity?.checksums ?? null;
    this.rereads = new Rereads(env.io, this.checksums ?? { damage: this.damage, expected: () => -1 });
    const wallMs = () => env.clock.wallMs();
    this.intents = new IntentLog(env.io, (changes) => this.commit(changes), this.regions, wallMs);
  }

  get bootId(): BootId {
    return this.boot.id;
  }

  get sessionCount(): number {
    return this.sessions.size;
  }

  /** Takes up where the last process ended. */
  async open(): Promise<void> {
    await this.boot.open();
    await this.space.open();
    this.records.clones.load();
    this.damage.load();
    // Writes would not keep them true, and some day they may be trusted again.
    if (this.integrity === null) await this.records.removeAllSums();
    await this.removal.open();
    this.settling.start();
  }

  /** Ends sessions, flushes and closes files. */
  async close(): Promise<void> {
    this.closing = true;
    const removed = this.removal.close();
    await this.settling.close();
    await this.layers.merger.close();
    await removed;
    await this.integrity?.close();
    let clean = true;
    for (const object of this.objects.values()) {
      await object.turn;
      await this.endSessions(object, STATUS_STALE_SESSION);
      if (!(await this.closeFiles(object))) clean = false;
    }
    await this.boot.close(clean);
    await this.records.close();
  }

  session(handle: number, holder: SessionHolder): Session {
    const session = this.sessions.get(handle);
    if (session !== undefined && session.holder === holder && session.ended === 0) return session;
    throw new RawstorError('STALE_SESSION', 'the session has ended on this OST', { where: this.ostId });
  }

  endSession(session: Session, status: number = STATUS_STALE_SESSION): void {
    session.end(status);
    this.sessions.delete(session.handle);
  }

  /** Takes a data operation; `chunkDone` follows, never from within. */
  submit(op: ChunkOp, holder: SessionHolder): void {
    this.operations++;
    const session = this.sessions.get(op.handle);
    const status = judge(op, session, holder);
    if (status !== 0 || op.opcode === Opcode.PING) return this.answers.refuse(op, status);
    this.traffic.begin(op);
    this.begin(op, session!);
  }

  /** Begins an operation that is in order; those of this OST's own come here directly. */
  begin(op: ChunkOp, session: Session): void {
    (this.freeOperations.pop() ?? new Operation(this)).start(op, session);
  }

  later(operation: Operation, status: number): void {
    this.answers.finish(operation, status);
  }

  free(operation: Operation, scope: number): void {
    if (scope !== OpScope.NESTED) this.traffic.end();
    this.freeOperations.push(operation);
  }

  /** An object known here, from memory, the records or `record`. @throws RawstorError NOT_FOUND */
  object(id: string, record: ObjectRecord | null): OstObject {
    const known = this.objects.get(id);
    if (known !== undefined && !this.removal.isRemoved(id)) return known;
    const brought = record === null ? null : asFirstKnown(this.records, record, this.ostId);
    const found = this.removal.isRemoved(id) ? null : (this.records.object(id) ?? brought);
    if (found === null)
      throw new RawstorError('NOT_FOUND', 'this OST has nothing of the object', { where: id });
    const fence = this.records.fence(id);
    const object = new OstObject(this.env.io, this.storage, found, fence, {
      ostId: this.ostId,
      settled: (chunk) => this.chunks.settled(chunk),
      syncFailed: () => this.lose('fsync of a directory failed'),
      needed: () => this.records.clones.over(id, this.ostId).map(({ parent }) => parent.version),
      parted: () => this.chunks.part(object),
    });
    this.objects.set(id, object);
    const sealed = this.records.set(id)?.lastSeal ?? 0;
    object.lastSeal = Math.max(found.lastSeal, sealed);
    const atStart = Math.max(this.records.object(id)?.lastSeal ?? 0, sealed);
    object.sealAtStart = this.boot.unsettledBefore ? 0 : atStart;
    return object;
  }

  below(object: OstObject, version: number): { object: OstObject; version: number } | null {
    const over = overOf(object.record, version);
    if (over > 0) return { object, version: over };
    const { parent } = object.record;
    if (parent === null || !sharesParent(object.record, this.ostId)) return null;
    const lower = this.object(parent.objectId, null);
    if (hasVersion(lower.record, parent.version)) return { object: lower, version: parent.version };
    throw new RawstorError(
      'NOT_FOUND',
      `this OST has no version ${parent.version} of what the clone lies over`,
      {
        where: `${parent.name} on OST ${this.ostId}`,
      },
    );
  }

  /** The writer has told that all in sync are identical up to here; that is on record. */
  sealed(object: OstObject, lastSeal: number): void {
    if (lastSeal <= object.lastSeal) return;
    object.lastSeal = lastSeal;
    this.integrity?.sealed(object);
  }

  /** Ends every session of the object and waits until nothing of theirs, nor of those that ended before, is in flight. */
  async endSessions(object: OstObject, status: number, before = Number.POSITIVE_INFINITY): Promise<void> {
    const all = before === Number.POSITIVE_INFINITY;
    const ending = object.sessions().filter((session) => {
      // Who reads a snapshot is in no writer's way.
      if (session.version !== 0) return all;
      return session.epoch < before || !session.readOnly;
    });
    for (const session of ending) this.endSession(session, status);
    await Promise.all([...object.draining].map((session) => session.drained()));
  }

  /** Flushes and closes an object's files, of which nothing is in flight; false when what was written may be lost. */
  async closeFiles(object: OstObject): Promise<boolean> {
    let clean = true;
    for (const chunk of object.chunks.values()) if (!(await this.chunks.syncAndClose(chunk))) clean = false;
    if (!(await object.directory.synced())) clean = false;
    return clean;
  }

  /** Durable when resolved. A store that fails for another reason than space is a loss. @throws RawstorError */
  async commit(changes: readonly Change[]): Promise<void> {
    try {
      await this.records.commit(changes);
    } catch (error) {
      const failure = asRawstorError(error);
      if (failure.code !== 'NO_SPACE') this.lose(failure.message);
      throw failure;
    }
  }

  /** `version`: of a snapshot, that it reads and nothing else; 0 for what the object is now. */
  newSession(
    object: OstObject,
    epoch: number,
    number: number,
    readOnly: boolean,
    holder: SessionHolder,
    version = 0,
  ): Session {
    if (holder.gone) throw new RawstorError('CONNECTION_LOST', 'who asked is gone', { where: this.ostId });
    if (holder.sessions.size >= LIMITS.objectsPerConnection) {
      throw new RawstorError('LIMIT', 'too many sessions on one connection', { where: this.ostId });
    }
    const session = new Session(this.nextHandle++, object, epoch, number, readOnly, holder, version);
    this.sessions.set(session.handle, session);
    return session;
  }

  /**
   * Unflushed writes are lost (I10): every session ends, and a new generation tells everyone, before anything
   * is answered but errors.
   */
  private lose(reason: string): void {
    this.boot.lose(reason);
    for (const session of [...this.sessions.values()]) this.endSession(session);
    for (const object of this.objects.values()) object.copied.clear();
  }
}
