import { asRawstorError } from '../common/errors.js';
import { ChunkFile, ChunkState } from './chunk-file.js';
import type { OstEnvironment } from './core.js';
import type { DirtyTracker } from './dirty.js';
import type { OstObject } from './object.js';
import type { Records } from './records.js';
import type { RegionMirror } from './regions.js';
import type { SpaceGuard } from './space.js';
import type { ChunkStorage } from './storage.js';

const VERSION_FACTOR = 65_536;

/** What the cache of chunk files works with. */
export interface ChunkCacheParts {
  readonly env: OstEnvironment;
  readonly storage: ChunkStorage;
  readonly records: Records;
  readonly dirty: DirtyTracker;
  readonly regions: RegionMirror;
  readonly space: SpaceGuard;
}

/** Opens chunk files when they are needed, creates them at the first write, closes idle ones beyond a limit. */
export class ChunkCache {
  private readonly env: OstEnvironment;
  private readonly storage: ChunkStorage;
  private readonly records: Records;
  private readonly dirty: DirtyTracker;
  private readonly regions: RegionMirror;
  private readonly space: SpaceGuard;
  private readonly limit: number;
  private readonly onLoss: (reason: string) => void;
  private openFiles = 0;

  constructor(parts: ChunkCacheParts, limit: number, onLoss: (reason: string) => void) {
    this.env = parts.env;
    this.storage = parts.storage;
    this.records = parts.records;
    this.dirty = parts.dirty;
    this.regions = parts.regions;
    this.space = parts.space;
    this.limit = limit;
    this.onLoss = onLoss;
  }

  /** The chunk's entry, its file being opened where that is new. */
  chunk(object: OstObject, number: number, version: number): ChunkFile {
    const key = number * VERSION_FACTOR + version;
    let chunk = object.chunks.get(key);
    if (chunk === undefined) {
      const { io } = this.env;
      chunk = new ChunkFile(object, number, version, io, this.dirty, (_chunk, errno) =>
        this.onLoss(`fdatasync failed with errno ${-errno}`),
      );
      object.chunks.set(key, chunk);
      this.openFile(chunk, false);
    }
    return chunk;
  }

  create(chunk: ChunkFile): void {
    if (chunk.state !== ChunkState.READY) return;
    chunk.state = ChunkState.CREATING;
    this.openFile(chunk, true);
  }

  /** Something that used the chunk is over: beyond the limit of open files an idle one is closed. */
  settled(chunk: ChunkFile): void {
    if (this.openFiles <= this.limit || !chunk.idle) return;
    chunk.state = ChunkState.CLOSED;
    chunk.object.chunks.delete(chunk.chunk * VERSION_FACTOR + chunk.version);
    this.regions.forget(chunk);
    this.space.closing(chunk);
    if (chunk.file === null) return;
    this.openFiles--;
    chunk.file
      .close()
      .catch((error) => this.env.log.warn({ error: String(error) }, 'a file could not be closed'));
  }

  /** Flushes and closes a chunk that nobody uses; false when what was written may be lost. */
  async syncAndClose(chunk: ChunkFile): Promise<boolean> {
    const { file } = chunk;
    if (file === null) return true;
    const errno = chunk.sync.idle
      ? 0
      : await new Promise<number>((resolve) => chunk.sync.add({ syncDone: resolve }));
    while (!chunk.dirt.idle) await this.env.clock.sleep(5);
    chunk.file = null;
    chunk.state = ChunkState.CLOSED;
    this.regions.forget(chunk);
    this.openFiles--;
    await file.close();
    return errno === 0;
  }

  private openFile(chunk: ChunkFile, create: boolean): void {
    const { object } = chunk;
    const name = { chunk: chunk.chunk, version: chunk.version };
    this.storage.open(object.record.id, name, create).then(
      (file) => {
        chunk.file = file;
        chunk.state = ChunkState.READY;
        if (file !== null) {
          this.openFiles++;
          this.space.opened(chunk);
        }
        chunk.recorded = this.records.hasChunk(object.key, chunk.chunk, chunk.version);
        if (create) object.directory.dirty = true;
        this.wakeWaiting(chunk, 0);
      },
      (error) => {
        const failure = asRawstorError(error);
        this.env.log.error({ chunk: chunk.where, reason: failure.message }, 'a chunk file cannot be opened');
        if (create) chunk.state = ChunkState.READY;
        else object.chunks.delete(chunk.chunk * VERSION_FACTOR + chunk.version);
        this.wakeWaiting(chunk, failure.wire);
      },
    );
  }

  private wakeWaiting(chunk: ChunkFile, status: number): void {
    for (const waiter of chunk.waiting.splice(0)) waiter.chunkReady(status);
  }
}
