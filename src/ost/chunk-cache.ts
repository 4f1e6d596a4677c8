import { asRawstorError } from '../common/errors.js';
import { ChunkFile, ChunkState } from './chunk-file.js';
import type { DirtyTracker } from './dirty.js';
import type { OstEnvironment } from './environment.js';
import type { OstObject } from './object.js';
import type { Records } from './records.js';
import type { RegionMirror } from './regions.js';
import type { SpaceGuard } from './space.js';
import type { ChunkName, ChunkStorage } from './storage.js';

const VERSION_FACTOR = 65_536;
/** Entries looked at to find one to close. */
const LOOKED_AT = 64;

/** What the cache of chunk files works with. */
export interface ChunkCacheParts {
  readonly env: OstEnvironment;
  readonly storage: ChunkStorage;
  readonly records: Records;
  readonly dirty: DirtyTracker;
  readonly regions: RegionMirror;
  readonly space: SpaceGuard;
}

/**
 * Opens chunk files when they are needed and creates them at the first write. Beyond a limit, which counts
 * chunks without a file too, idle ones are closed, least recently used first (second chance).
 */
export class ChunkCache {
  private readonly env: OstEnvironment;
  private readonly storage: ChunkStorage;
  private readonly records: Records;
  private readonly dirty: DirtyTracker;
  private readonly regions: RegionMirror;
  private readonly space: SpaceGuard;
  private readonly limit: number;
  private readonly onLoss: (reason: string) => void;
  private readonly entries: ChunkFile[] = [];
  private hand = 0;

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
      chunk.index = this.entries.push(chunk) - 1;
      this.openFile(chunk, false);
      if (this.entries.length > this.limit) this.evict();
    }
    return chunk;
  }

  /** Those that are in use now. */
  open(): { objectId: string; name: ChunkName }[] {
    return this.entries.map(({ object, chunk, version }) => ({
      objectId: object.record.id,
      name: { chunk, version },
    }));
  }

  create(chunk: ChunkFile): void {
    if (chunk.state !== ChunkState.READY) return;
    chunk.state = ChunkState.CREATING;
    this.openFile(chunk, true);
  }

  /** Something that used the chunk is over. */
  settled(chunk: ChunkFile): void {
    if (this.entries.length > this.limit && chunk.idle) this.evict();
  }

  /** Flushes and closes a chunk that nobody uses; false when what was written may be lost. */
  async syncAndClose(chunk: ChunkFile): Promise<boolean> {
    const flushed = await chunk.sync.synced();
    while (!chunk.dirt.idle) await this.env.clock.sleep(5);
    await this.drop(chunk);
    return flushed;
  }

  /** Closes one of the next few if it can; while those are busy there are more than the limit. */
  private evict(): void {
    for (let tries = LOOKED_AT; tries > 0; tries--) {
      if (this.hand >= this.entries.length) this.hand = 0;
      const chunk = this.entries[this.hand]!;
      if (!chunk.used && chunk.idle) {
        this.drop(chunk).catch((error) =>
          this.env.log.warn({ error: String(error) }, 'a file could not be closed'),
        );
        return;
      }
      chunk.used = false;
      this.hand++;
    }
  }

  private async drop(chunk: ChunkFile): Promise<void> {
    if (chunk.state === ChunkState.CLOSED) return;
    const { file } = chunk;
    this.space.closing(chunk);
    this.regions.forget(chunk);
    chunk.state = ChunkState.CLOSED;
    chunk.file = null;
    this.remove(chunk);
    await file?.close();
  }

  private remove(chunk: ChunkFile): void {
    chunk.object.chunks.delete(chunk.chunk * VERSION_FACTOR + chunk.version);
    const last = this.entries.pop()!;
    if (last === chunk) return;
    this.entries[chunk.index] = last;
    last.index = chunk.index;
  }

  private openFile(chunk: ChunkFile, create: boolean): void {
    const { object } = chunk;
    const name = { chunk: chunk.chunk, version: chunk.version };
    this.storage.open(object.record.id, name, create).then(
      (file) => {
        if (chunk.state === ChunkState.CLOSED) return file?.close();
        chunk.file = file;
        chunk.state = ChunkState.READY;
        if (file !== null) this.space.opened(chunk);
        chunk.recorded = this.records.hasChunk(object.key, chunk.chunk, chunk.version);
        if (create) object.directory.dirty = true;
        this.wakeWaiting(chunk, 0);
      },
      (error) => {
        const failure = asRawstorError(error);
        this.env.log.error({ chunk: chunk.where, reason: failure.message }, 'a chunk file cannot be opened');
        if (chunk.state === ChunkState.CREATING) chunk.state = ChunkState.READY;
        else if (chunk.state !== ChunkState.CLOSED) this.remove(chunk);
        this.wakeWaiting(chunk, failure.wire);
      },
    );
  }

  private wakeWaiting(chunk: ChunkFile, status: number): void {
    for (const waiter of chunk.waiting.splice(0)) waiter.chunkReady(status);
  }
}
