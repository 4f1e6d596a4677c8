import { parseId } from '../common/ids.js';
import type { Io } from '../io/types.js';
import type { ObjectRecord } from '../protocol/index.js';
import type { ChunkFile } from './chunk-file.js';
import type { Fence } from './record-codec.js';
import type { Session } from './session.js';
import type { ChunkStorage } from './storage.js';
import { SyncPoint } from './sync-point.js';

/** An object of which this OST has something, while it is in use. */
export class OstObject {
  record: ObjectRecord;
  readonly key: Buffer;
  readonly chunks = new Map<number, ChunkFile>();
  readonly directory: DirectorySync;
  fence: Fence | null;
  writer: Session | null = null;
  readonly readers = new Set<Session>();
  /** Attaches of one object come one after another. */
  turn: Promise<unknown> = Promise.resolve();
  private readonly onSettled: (chunk: ChunkFile) => void;

  constructor(
    io: Pick<Io, 'schedule'>,
    storage: ChunkStorage,
    record: ObjectRecord,
    fence: Fence | null,
    onSettled: (chunk: ChunkFile) => void,
  ) {
    this.record = record;
    this.key = parseId(record.id);
    this.fence = fence;
    this.onSettled = onSettled;
    this.directory = new DirectorySync(io, storage, record.id);
  }

  /** Something that kept the chunk busy has ended. */
  chunkSettled(chunk: ChunkFile): void {
    this.onSettled(chunk);
  }

  sessions(): Session[] {
    return this.writer === null ? [...this.readers] : [this.writer, ...this.readers];
  }
}

/** Makes new directory entries of an object durable. */
class DirectorySync extends SyncPoint {
  private readonly storage: ChunkStorage;
  private readonly objectId: string;

  constructor(io: Pick<Io, 'schedule'>, storage: ChunkStorage, objectId: string) {
    super(io);
    this.storage = storage;
    this.objectId = objectId;
  }

  protected start(): void {
    const EIO = -5;
    this.storage.syncDirectory(this.objectId).then(
      () => this.finished(0),
      () => {
        this.dirty = true;
        this.finished(EIO);
      },
    );
  }
}
