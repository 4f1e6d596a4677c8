import { asRawstorError, RawstorError } from '../common/errors.js';
import { errorOfStatus } from '../protocol/index.js';
import type { Boot } from './boot.js';
import { ChunkFile, ChunkState, linkBelow, unlinkBelow } from './chunk-file.js';
import type { DirtyTracker } from './dirty.js';
import type { OstEnvironment } from './environment.js';
import { type Layers, settleHoles } from './layers/index.js';
import type { OstObject } from './object.js';
import { OpenChunks } from './open-chunks.js';
import { REGIONS_PER_PAGE } from './record-codec.js';
import type { Records } from './records.js';
import type { RegionMirror } from './regions.js';
import type { SpaceGuard } from './space.js';
import type { ChunkName, ChunkStorage } from './storage.js';

/** More versions than an object may have, and fewer than would make keys inexact. */
const VERSION_FACTOR = 2 ** 29;

/** What the cache of chunk files works with. */
export interface ChunkCacheParts {
  readonly env: OstEnvironment;
  readonly storage: ChunkStorage;
  readonly records: Records;
  readonly dirty: DirtyTracker;
  readonly regions: RegionMirror;
  readonly space: SpaceGuard;
  readonly layers: Layers;
  readonly boot: Boot;
  /** The object and version that a version lies over; null: none. @throws RawstorError NOT_FOUND */
  below(object: OstObject, version: number): { object: OstObject; version: number } | null;
}

/**
 * Opens chunk files when they are needed and creates them at the first write. Beyond a limit, which counts
 * chunks without a file too, some are closed: see OpenChunks.
 */
export class ChunkCache {
  private readonly parts: ChunkCacheParts;
  private readonly onLoss: (reason: string) => void;
  private readonly entries: OpenChunks;

  constructor(parts: ChunkCacheParts, limit: number, onLoss: (reason: string) => void) {
    this.parts = parts;
    this.onLoss = onLoss;
    this.entries = new OpenChunks(limit, (chunk) => {
      this.drop(chunk).catch((error) => this.notClosed(error));
    });
    parts.storage.onShort = () => this.entries.relieve();
  }

  /** The chunk's entry, its file being opened where that is new. */
  chunk(object: OstObject, number: number, version: number): ChunkFile {
    const key = number * VERSION_FACTOR + version;
    let chunk = object.chunks.get(key);
    if (chunk === undefined) {
      const { env, dirty } = this.parts;
      chunk = new ChunkFile(object, number, version, env.io, dirty, (_chunk, errno) =>
        this.onLoss(`fdatasync failed with errno ${-errno}`),
      );
      object.chunks.set(key, chunk);
      this.entries.add(chunk);
      this.openFile(chunk, false);
      if (this.entries.tooMany) this.entries.evict();
    }
    return chunk;
  }

  /** Those that are in use now, for who drops their pages: then blocks that were not on disk are of what lies below again. */
  *open(): Generator<{ objectId: string; name: ChunkName }> {
    for (const entry of this.entries) {
      const { object, chunk, version } = entry;
      yield { objectId: object.record.id, name: { chunk, version } };
      this.parts.layers.maps.forgetAll(entry);
    }
  }

  create(chunk: ChunkFile): void {
    if (chunk.state !== ChunkState.READY) return;
    chunk.state = ChunkState.CREATING;
    this.openFile(chunk, true);
  }

  /** The file of one version becomes that of the version over it, which has had its name already. */
  handOver(from: ChunkFile, into: ChunkFile): void {
    const { space, layers } = this.parts;
    space.closing(into);
    if (into.file !== null) into.retired.push(into.file);
    into.file = from.file;
    from.file = null;
    from.handedOver = true;
    into.allocatedBytes = from.allocatedBytes;
    from.allocatedBytes = 0;
    into.sync.dirty = true;
    layers.maps.forgetAll(from);
  }

  /**
   * The object lies over its parent no more: what is merged away or removed there from now on must not show in chunks that are open. Reads that
   * have begun go on, each with the files that it holds.
   */
  part(object: OstObject): void {
    for (const chunk of object.chunks.values()) {
      const { below } = chunk;
      if (below === null || below.object === object) continue;
      this.parts.layers.maps.forgetAll(chunk);
      unlinkBelow(chunk);
      this.settled(below);
    }
  }

  /** Something that used the chunk is over. */
  settled(chunk: ChunkFile): void {
    const { retired, holders, above, sync, dirt } = chunk;
    // A sync or writeback that began before holds nothing, and may be of one of them.
    if (retired.length > 0 && holders <= above.size && !sync.running && dirt.idle) this.closeRetired(chunk);
    if (this.entries.tooMany && chunk.idle) this.entries.evict();
  }

  /** Flushes and closes a chunk that nobody uses; false when what was written may be lost. */
  async syncAndClose(chunk: ChunkFile): Promise<boolean> {
    const flushed = await chunk.sync.synced();
    while (!chunk.dirt.idle) await this.parts.env.clock.sleep(5);
    await this.drop(chunk);
    return flushed;
  }

  /** Resolves when it is known whether there is a file, and it is open. @throws RawstorError IO */
  async ready(chunk: ChunkFile): Promise<void> {
    if (chunk.ready) return;
    const status = await new Promise<number>((resolve) => chunk.waiting.push({ chunkReady: resolve }));
    if (status !== 0) throw new RawstorError('IO', 'the chunk cannot be opened', { where: chunk.where });
  }

  /**
   * Takes away what a version has of a chunk: `work` removes it for good. Whoever needs the chunk meanwhile waits, and finds that there is
   * nothing. Waits for who uses it now, those over it aside.
   */
  async empty(opened: ChunkFile, work: (allocatedBytes: number) => Promise<void>): Promise<void> {
    const { space, regions, layers, env, dirty } = this.parts;
    let chunk = opened;
    const inUse = () =>
      chunk.holders > chunk.above.size ||
      !chunk.dirt.idle ||
      chunk.sync.running ||
      chunk.pinned ||
      !chunk.ready;
    while (inUse()) {
      await env.clock.sleep(5);
      if (chunk.state !== ChunkState.CLOSED) continue;
      // Nobody used it for a moment, and it was closed to have fewer open.
      chunk = this.chunk(chunk.object, chunk.chunk, chunk.version);
      await this.ready(chunk);
    }
    const { file } = chunk;
    const allocatedBytes = file?.allocatedBytes() ?? 0;
    chunk.state = ChunkState.OPENING;
    space.closing(chunk);
    regions.forget(chunk);
    dirty.forget(chunk);
    chunk.sync.dirty = false;
    chunk.file = null;
    chunk.recorded = false;
    layers.maps.forgetAll(chunk);
    try {
      await file?.close();
      await work(allocatedBytes);
      chunk.handedOver = false;
    } catch (error) {
      this.openFile(chunk, false);
      throw error;
    }
    // Nothing is opened to learn that: where descriptors are short that could fail.
    if (chunk.state === ChunkState.OPENING) this.openBelow(chunk);
  }

  private async drop(chunk: ChunkFile): Promise<void> {
    if (chunk.state === ChunkState.CLOSED) return;
    const { file, below } = chunk;
    const { space, regions, layers } = this.parts;
    space.closing(chunk);
    regions.forget(chunk);
    layers.maps.forgetAll(chunk);
    chunk.state = ChunkState.CLOSED;
    chunk.file = null;
    this.remove(chunk);
    // An object that others lie over is removed when they need it no more.
    for (const above of [...chunk.above]) unlinkBelow(above);
    if (below !== null) {
      unlinkBelow(chunk);
      this.settled(below);
    }
    this.closeRetired(chunk);
    await file?.close();
  }

  private closeRetired(chunk: ChunkFile): void {
    for (const file of chunk.retired.splice(0)) file.close().catch((error) => this.notClosed(error));
  }

  private notClosed(error: unknown): void {
    this.parts.env.log.warn({ error: String(error) }, 'a file could not be closed');
  }

  private remove(chunk: ChunkFile): void {
    chunk.object.chunks.delete(chunk.chunk * VERSION_FACTOR + chunk.version);
    this.entries.remove(chunk);
  }

  private openFile(chunk: ChunkFile, create: boolean): void {
    const { object } = chunk;
    const { storage, space, records, layers } = this.parts;
    const name = { chunk: chunk.chunk, version: chunk.version };
    storage
      .open(object.record.id, name, create)
      .then(
        (file) => {
          if (chunk.state === ChunkState.CLOSED) return file?.close();
          chunk.file = file;
          if (file !== null) space.opened(chunk);
          chunk.recorded = records.hasChunk(object.key, chunk.chunk, chunk.version);
          if (!create) return this.settle(chunk);
          object.directory.dirty = true;
          layers.maps.forgetAll(chunk);
          this.opened(chunk, 0);
        },
        (error) => this.failed(chunk, error),
      )
      .catch((error) => this.failed(chunk, error));
  }

  /** After a power loss, before anything of it is read: what is a hole decides what a layered version has. */
  private settle(opened: ChunkFile): void | Promise<void> {
    const { file, object, chunk, version } = opened;
    const { boot, records } = this.parts;
    const layered = object.record.snapshots.length > 0 || object.record.parent !== null;
    if (!boot.unsettled || !layered || file === null) return this.openBelow(opened);
    const regions: number[] = [];
    for (const { page, epochs } of records.versions.versionRegions(object.key, chunk, version)) {
      epochs.forEach((epoch, i) => {
        // Not by what was sealed since this process began: nobody need have looked at this chunk before that.
        if (epoch > object.sealAtStart) regions.push(page * REGIONS_PER_PAGE + i);
      });
    }
    return settleHoles(file, regions).then(() => this.openBelow(opened));
  }

  /** A version is ready when all that it lies over is. */
  private openBelow(chunk: ChunkFile): void {
    if (chunk.below !== null) return this.opened(chunk, 0);
    try {
      const lower = this.parts.below(chunk.object, chunk.version);
      if (lower === null) return this.opened(chunk, 0);
      const below = this.chunk(lower.object, chunk.chunk, lower.version);
      linkBelow(chunk, below);
      if (below.ready) return this.opened(chunk, 0);
      below.waiting.push({ chunkReady: (status) => this.opened(chunk, status) });
    } catch (error) {
      this.failed(chunk, error);
    }
  }

  private opened(chunk: ChunkFile, status: number): void {
    if (status !== 0) return this.failed(chunk, errorOfStatus(status, 'a version below'));
    if (chunk.state !== ChunkState.CLOSED) chunk.state = ChunkState.READY;
    this.wakeWaiting(chunk, 0);
  }

  private failed(chunk: ChunkFile, error: unknown): void {
    const failure = asRawstorError(error);
    const { log } = this.parts.env;
    log.error({ chunk: chunk.where, reason: failure.message }, 'a chunk file cannot be opened');
    // Emptied, and between others: those over it have all that it had, and still need what lies below it.
    const isBetween = chunk.below !== null && [...chunk.above].some(({ ready }) => ready);
    if (chunk.state === ChunkState.CREATING || isBetween) chunk.state = ChunkState.READY;
    else if (chunk.state !== ChunkState.CLOSED) {
      const { below, file } = chunk;
      this.remove(chunk);
      chunk.state = ChunkState.CLOSED;
      chunk.file = null;
      if (below !== null) unlinkBelow(chunk);
      file?.close().catch(() => {});
    }
    this.wakeWaiting(chunk, failure.wire);
  }

  private wakeWaiting(chunk: ChunkFile, status: number): void {
    for (const waiter of chunk.waiting.splice(0)) waiter.chunkReady(status);
  }
}
