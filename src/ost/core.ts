import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import type { Clock } from '../common/clock.js';
import { ERROR_CODES, RawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import type { Logger } from '../common/log.js';
import type { BatchTask, Io } from '../io/types.js';
import {
  type BootId,
  type ChunkOp,
  type ObjectRecord,
  Opcode,
  STATUS_FENCED,
  STATUS_STALE_SESSION,
} from '../protocol/index.js';
import { ChunkCache } from './chunk-cache.js';
import { DirtyTracker } from './dirty.js';
import { IntentLog } from './intents.js';
import { OstObject } from './object.js';
import { Operation } from './operation.js';
import { bootChange, fenceChange, objectChange, type Records } from './records.js';
import { RegionMirror } from './regions.js';
import { Session, type SessionHolder } from './session.js';
import { SpaceGuard } from './space.js';
import type { ChunkStorage } from './storage.js';
import type { OstTuning } from './tuning.js';

export interface OstEnvironment {
  readonly io: Io;
  readonly clock: Clock;
  readonly log: Logger;
}

/** The storage target itself: sessions, operations, chunk files. Knows nothing of sockets or replicas. */
export class OstCore implements BatchTask {
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
  private readonly sessions = new Map<number, Session>();
  private readonly freeOperations: Operation[] = [];
  private deferred: { operation: Operation; status: number }[] = [];
  private refused: { op: ChunkOp; status: number }[] = [];
  private nextHandle = 1;
  private generation = 0;
  private kernel = '';
  /** While a loss is being recorded nobody attaches. */
  private losing: Promise<void> = Promise.resolve();

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
    this.dirty = new DirtyTracker(tuning.writebackBytes, tuning.dirtyLimitBytes);
    this.regions = new RegionMirror(records, tuning.regionPages);
    this.space = new SpaceGuard(storage, tuning.capacityBytes, tuning.reserveBytes);
    this.chunks = new ChunkCache(this, tuning.openFiles, (reason) => this.lose(reason));
    const wallMs = () => env.clock.wallMs();
    this.intents = new IntentLog(env.io, records, this.regions, wallMs, (error) => this.lose(error.message));
  }

  get bootId(): BootId {
    return { kernel: this.kernel, generation: this.generation };
  }

  get sessionCount(): number {
    return this.sessions.size;
  }

  /** Takes up where the last process ended. */
  async open(): Promise<void> {
    const before = this.records.boot();
    this.kernel = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    this.generation = before?.generation ?? 1;
    if (before !== null && !before.clean && before.kernel === this.kernel) {
      // The last process was killed: its writes are in the page cache, and a flush here would not know of them.
      await promisify(execFile)('sync', ['-f', this.storage.where]);
    }
    await this.records.commit([
      bootChange({ generation: this.generation, kernel: this.kernel, clean: false }),
    ]);
    await this.space.open();
    for (const { id } of this.records.tombstones()) await this.storage.remove(id);
  }

  /** Ends sessions, flushes and closes files. */
  async close(): Promise<void> {
    let clean = true;
    for (const object of this.objects.values()) {
      await this.endSessions(object, STATUS_STALE_SESSION);
      for (const chunk of object.chunks.values()) if (!(await this.chunks.syncAndClose(chunk))) clean = false;
    }
    await this.records.commit([bootChange({ generation: this.generation, kernel: this.kernel, clean })]);
    await this.records.close();
  }

  /** @throws RawstorError FENCED, STALE_SESSION, NOT_FOUND for an object removed */
  async attach(record: ObjectRecord, epoch: number, number: number, holder: SessionHolder): Promise<Session> {
    await this.losing;
    const object = this.object(record.id, record);
    const attached = object.turn.then(() => this.attachInTurn(object, record, epoch, number, holder));
    object.turn = attached.catch(() => {});
    return attached;
  }

  /** For another OST that copies from here. */
  attachReader(objectId: string, epoch: number, holder: SessionHolder): Session {
    const object = this.object(objectId, null);
    if (object.fence !== null && epoch < object.fence.sessionEpoch) throw this.fenced(object);
    const session = new Session(this.nextHandle++, object, epoch, 0, true, holder);
    object.readers.add(session);
    this.sessions.set(session.handle, session);
    return session;
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
    const session = this.sessions.get(op.handle);
    const status = this.judge(op, session, holder);
    if (status !== 0 || op.opcode === Opcode.PING) {
      this.refused.push({ op, status });
      this.env.io.schedule(this);
      return;
    }
    (this.freeOperations.pop() ?? new Operation(this)).start(op, session!);
  }

  later(operation: Operation, status: number): void {
    this.deferred.push({ operation, status });
    this.env.io.schedule(this);
  }

  free(operation: Operation): void {
    this.freeOperations.push(operation);
  }

  runBatch(): void {
    const { deferred, refused } = this;
    this.deferred = [];
    this.refused = [];
    for (const { operation, status } of deferred) operation.finish(status);
    for (const { op, status } of refused) {
      op.status = status;
      op.owner.chunkDone(op);
    }
  }

  /** An object known here, from memory, the records or `record`. @throws RawstorError NOT_FOUND */
  object(id: string, record: ObjectRecord | null): OstObject {
    const known = this.objects.get(id);
    if (known !== undefined) return known;
    const found = this.records.isDeleted(id) ? null : (this.records.object(id) ?? record);
    if (found === null)
      throw new RawstorError('NOT_FOUND', 'this OST has nothing of the object', { where: id });
    const fence = this.records.fence(id);
    const object = new OstObject(this.env.io, this.storage, found, fence, (chunk) =>
      this.chunks.settled(chunk),
    );
    this.objects.set(id, object);
    return object;
  }

  /** Ends every session of the object and waits until nothing of theirs is in flight. */
  async endSessions(object: OstObject, status: number, before = Number.POSITIVE_INFINITY): Promise<void> {
    const ending = object.sessions().filter((session) => session.epoch < before || !session.readOnly);
    for (const session of ending) this.endSession(session, status);
    await Promise.all(ending.map((session) => session.drained()));
  }

  /** Forgets an object's files; nothing is in flight. */
  async forget(object: OstObject): Promise<void> {
    for (const chunk of object.chunks.values()) await this.chunks.syncAndClose(chunk);
    this.objects.delete(object.record.id);
  }

  private async attachInTurn(
    object: OstObject,
    record: ObjectRecord,
    epoch: number,
    number: number,
    holder: SessionHolder,
  ): Promise<Session> {
    const { fence } = object;
    if (fence !== null) {
      if (epoch < fence.sessionEpoch) throw this.fenced(object);
      if (epoch === fence.sessionEpoch && number <= fence.sessionNumber) {
        throw new RawstorError('STALE_SESSION', 'a later attach of the same writer was here', {
          where: this.ostId,
        });
      }
    }
    const next = { sessionEpoch: epoch, sessionNumber: number };
    const kept = record.epoch >= object.record.epoch ? record : object.record;
    await this.records.commit([fenceChange(record.id, next), objectChange(kept)]);
    object.fence = next;
    object.record = kept;
    const status = fence !== null && epoch > fence.sessionEpoch ? STATUS_FENCED : STATUS_STALE_SESSION;
    const drained = this.endSessions(object, status, epoch);
    this.dirty.releaseAll();
    await drained;
    const session = new Session(this.nextHandle++, object, epoch, number, false, holder);
    object.writer = session;
    this.sessions.set(session.handle, session);
    return session;
  }

  private judge(op: ChunkOp, session: Session | undefined, holder: SessionHolder): number {
    if (session === undefined || session.holder !== holder) return STATUS_STALE_SESSION;
    if (session.ended !== 0) return session.ended;
    if (op.sessionEpoch !== session.epoch || op.sessionNumber !== session.number) return STATUS_STALE_SESSION;
    const { opcode } = op;
    if (opcode === Opcode.PING) return 0;
    if (opcode !== Opcode.READ && session.readOnly) return ERROR_CODES.READ_ONLY.wire;
    if (opcode === Opcode.FLUSH) return 0;
    if (opcode < Opcode.READ || opcode > Opcode.FLUSH) return ERROR_CODES.NOT_SUPPORTED.wire;
    const { chunkSizeBytes, sizeBytes } = session.object.record;
    const inside =
      op.length > 0 &&
      op.length <= LIMITS.rangeBytes &&
      op.offset + op.length <= chunkSizeBytes &&
      op.chunk * chunkSizeBytes + op.offset + op.length <= sizeBytes &&
      op.chunkVersion === session.object.record.headVersion;
    if (!inside) return ERROR_CODES.INVALID.wire;
    const carries = opcode === Opcode.READ || opcode === Opcode.WRITE;
    return carries && op.slices.lengthBytes !== op.length ? ERROR_CODES.INVALID.wire : 0;
  }

  private fenced(object: OstObject): RawstorError {
    return new RawstorError('FENCED', 'a newer writer has opened the object', {
      where: `${object.record.name} on OST ${this.ostId}`,
      hint: 'only one writer at a time: close the other, or open with --force',
    });
  }

  /**
   * Unflushed writes are lost (I10): every session ends, and a new generation tells everyone, before anything
   * else is answered.
   */
  private lose(reason: string): void {
    this.env.log.error({ reason }, 'unflushed writes may be lost, this OST takes a new generation');
    this.generation++;
    for (const session of [...this.sessions.values()]) this.endSession(session);
    const boot = { generation: this.generation, kernel: this.kernel, clean: false };
    const recorded = this.losing.then(async () => {
      await this.records.commit([bootChange(boot)]);
      for (const object of this.objects.values()) {
        for (const { chunk, version } of object.chunks.values()) {
          await this.storage.dropCache(object.record.id, { chunk, version });
        }
      }
    });
    this.losing = recorded;
    recorded.catch((error) => {
      // Nothing can be promised any more; a restart reads what the disk has.
      this.env.log.fatal({ error: String(error) }, 'the loss cannot be recorded');
      process.exit(ERROR_CODES.IO.exit);
    });
  }
}
