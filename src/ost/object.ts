import { asRawstorError, RawstorError } from '../common/errors.js';
import { parseId } from '../common/ids.js';
import type { Io } from '../io/types.js';
import type { ObjectRecord } from '../protocol/index.js';
import type { ChunkFile } from './chunk-file.js';
import { CopiedRegions } from './copied-regions.js';
import { sharesParent, withNeeded } from './layers/lineage.js';
import { asShared } from './layers/shared-parent.js';
import type { Fence } from './record-codec.js';
import type { Session } from './session.js';
import type { ChunkStorage } from './storage.js';
import { SyncPoint } from './sync-point.js';

export interface ObjectOwner {
  readonly ostId: string;
  settled(chunk: ChunkFile): void;
  /** A sync of the object's directory failed. */
  syncFailed(): void;
  /** Versions that clones on this OST lie over. */
  needed(): readonly number[];
  /** Its copy here lies over that of its parent no more. */
  parted(): void;
}

/** An object of which this OST has something, while it is in use. */
export class OstObject {
  record: ObjectRecord;
  readonly key: Buffer;
  readonly chunks = new Map<number, ChunkFile>();
  readonly directory: DirectorySync;
  fence: Fence | null;
  /** "Identical up to here", as far as this OST has been told. */
  lastSeal = 0;
  /** That, when this process first had to do with the object: what is newer may have been on its way to the disk when the one before it ended. */
  sealAtStart = 0;
  writer: Session | null = null;
  readonly readers = new Set<Session>();
  /** Sessions that have ended, with operations that have not. */
  readonly draining = new Set<Session>();
  readonly copied = new CopiedRegions();
  /** Attaches of one object come one after another. */
  turn: Promise<unknown> = Promise.resolve();
  private readonly owner: ObjectOwner;

  constructor(
    io: Pick<Io, 'schedule'>,
    storage: ChunkStorage,
    record: ObjectRecord,
    fence: Fence | null,
    owner: ObjectOwner,
  ) {
    this.record = record;
    this.key = parseId(record.id);
    this.fence = fence;
    this.owner = owner;
    this.directory = new DirectorySync(io, storage, record.id, () => owner.syncFailed());
  }

  /** Something that kept the chunk busy has ended. */
  chunkSettled(chunk: ChunkFile): void {
    this.owner.settled(chunk);
  }

  /** What is kept when somebody brings its record. @throws RawstorError CONFLICT */
  newerRecord(brought: ObjectRecord): ObjectRecord {
    if (this.record.chunkSizeBytes !== brought.chunkSizeBytes) {
      throw new RawstorError('CONFLICT', 'the object has another chunk size on this OST', {
        where: this.record.id,
      });
    }
    if (brought.epoch < this.record.epoch) return this.record;
    const shared = asShared(this.record, brought, this.owner.ostId);
    return withNeeded(this.record, shared, this.owner.needed());
  }

  /** A record of it is durable. */
  becomes(record: ObjectRecord): void {
    const { ostId } = this.owner;
    const parts = sharesParent(this.record, ostId) && !sharesParent(record, ostId);
    this.record = record;
    if (parts) this.owner.parted();
  }

  sessions(): Session[] {
    return this.writer === null ? [...this.readers] : [this.writer, ...this.readers];
  }
}

/** Makes new directory entries of an object durable. */
class DirectorySync extends SyncPoint {
  private readonly storage: ChunkStorage;
  private readonly objectId: string;
  private readonly onFailed: () => void;

  constructor(io: Pick<Io, 'schedule'>, storage: ChunkStorage, objectId: string, onFailed: () => void) {
    super(io);
    this.storage = storage;
    this.objectId = objectId;
    this.onFailed = onFailed;
  }

  protected start(): void {
    const EIO = -5;
    this.storage.syncDirectory(this.objectId).then(
      () => this.finished(0),
      (error) => {
        // First: the loss must be known before anyone is told that the sync is over.
        if (asRawstorError(error).code !== 'BUSY') this.onFailed();
        this.dirty = true;
        this.finished(EIO);
      },
    );
  }
}
