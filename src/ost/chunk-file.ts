import { assert } from '../common/assert.js';
import { SliceList } from '../io/memory.js';
import { FileOp, type FileOpOwner, type Io, type IoFile } from '../io/types.js';
import type { DirtyTracker } from './dirty.js';
import type { ChangeLock } from './layers/change-lock.js';
import type { RegionOwners } from './layers/layer-maps.js';
import type { OstObject } from './object.js';
import type { RegionPage } from './regions.js';
import { SyncPoint, type SyncWaiter } from './sync-point.js';

export const ChunkState = { OPENING: 0, READY: 1, CREATING: 2, CLOSED: 3 } as const;
export type ChunkState = (typeof ChunkState)[keyof typeof ChunkState];

/** Who waits for a chunk's file to be opened or created. */
export interface ChunkWaiter {
  /** `status` 0, or a wire status when the file could not be opened. */
  chunkReady(status: number): void;
}

/** One version of one chunk while it is in use: its file (null while there is none on disk) and what is known of it. */
export class ChunkFile {
  readonly object: OstObject;
  readonly chunk: number;
  readonly version: number;
  readonly sizeBytes: number;
  state: ChunkState = ChunkState.OPENING;
  file: IoFile | null = null;
  readonly waiting: ChunkWaiter[] = [];
  /** Operations that hold it, whatever they wait for. */
  holders = 0;
  /** Since the cache last looked for one to close. */
  used = true;
  /** Its chunk record is durable. */
  recorded = false;
  readonly pages: (RegionPage | undefined)[] = [];
  readonly sync: FileSync;
  readonly dirt: ChunkDirt;
  /** Bytes on disk when last looked at, for the artificial capacity limit. */
  allocatedBytes = 0;
  /** Its place in the cache's list. */
  index = 0;
  /** The same chunk of the version that this one lies over, held open; null for none. */
  below: ChunkFile | null = null;
  /** Of versions over this one, as far as they are open. */
  readonly above = new Set<ChunkFile>();
  /** This one and those below that have something, nearest first; null: to be looked up (layers/layer-maps). */
  stack: readonly ChunkFile[] | null = null;
  /** By region, which version each block is of. */
  readonly owners = new Map<number, RegionOwners>();
  lock: ChangeLock | null = null;
  /** Its file has become that of the version over it: who began to read it goes on, and there is nothing to take checksums of. */
  handedOver = false;
  /** Files that another one has taken the place of, while somebody may still read them. */
  readonly retired: IoFile[] = [];

  constructor(
    object: OstObject,
    chunk: number,
    version: number,
    io: Pick<Io, 'schedule'>,
    tracker: DirtyTracker,
    onSyncFailed: (chunk: ChunkFile, errno: number) => void,
  ) {
    this.object = object;
    this.chunk = chunk;
    this.version = version;
    this.sizeBytes = object.record.chunkSizeBytes;
    this.sync = new FileSync(io, this, tracker, onSyncFailed);
    this.dirt = new ChunkDirt(this, tracker);
  }

  get where(): string {
    return `${this.object.record.id}:${this.chunk}:${this.version}`;
  }

  /** It is known whether there is a file, and it is open. */
  get ready(): boolean {
    return this.state === ChunkState.READY;
  }

  /** Its descriptor may be closed: nobody uses it and nothing in it is unflushed. */
  get idle(): boolean {
    return (
      this.holders === 0 &&
      this.sync.idle &&
      this.dirt.idle &&
      !this.pinned &&
      this.state === ChunkState.READY
    );
  }

  /** A commit holds a page of its regions. */
  get pinned(): boolean {
    return this.pages.some((page) => page !== undefined && page.pins > 0);
  }
}

/** fdatasync of a chunk's file. */
class FileSync extends SyncPoint implements FileOpOwner {
  /** Syncs begun, and the last one that succeeded: what changed before it began is durable. */
  started = 0;
  durableThrough = 0;
  private readonly chunk: ChunkFile;
  private readonly tracker: DirtyTracker;
  private readonly onSyncFailed: (chunk: ChunkFile, errno: number) => void;
  private readonly op = new FileOp(this, new SliceList());

  constructor(
    io: Pick<Io, 'schedule'>,
    chunk: ChunkFile,
    tracker: DirtyTracker,
    onSyncFailed: (chunk: ChunkFile, errno: number) => void,
  ) {
    super(io);
    this.chunk = chunk;
    this.tracker = tracker;
    this.onSyncFailed = onSyncFailed;
  }

  protected start(): void {
    const { file } = this.chunk;
    assert(file !== null, 'sync of a chunk that has no file');
    this.tracker.syncStarted(this.chunk);
    this.started++;
    file.sync(this.op);
  }

  fileDone(_op: FileOp, result: number): void {
    this.tracker.syncEnded(this.chunk);
    // First: the loss must be known before anyone is told that the sync is over.
    if (result < 0) {
      this.onSyncFailed(this.chunk, result);
      // What is still cached and read from now on must get to the disk with the next flush.
      this.dirty = true;
    } else {
      this.durableThrough = this.started;
    }
    this.finished(result < 0 ? result : 0);
    this.chunk.object.chunkSettled(this.chunk);
  }
}

/** Bytes of a chunk that were written and not yet given to the disk; kept by DirtyTracker. */
export class ChunkDirt implements FileOpOwner {
  readonly chunk: ChunkFile;
  /** Since the last writeback or sync began. */
  bytes = 0;
  /** Of those, in blocks whose block before was dirty already. */
  contiguousBytes = 0;
  /** In the writeback that runs. */
  leavingBytes = 0;
  /** In the sync that runs. */
  syncingBytes = 0;
  fromOffset = Number.MAX_SAFE_INTEGER;
  toOffset = 0;
  writing = false;
  /** One bit per 4 KiB block, so that a block written again and again counts once; null for very large chunks. */
  blocks: Uint32Array | null = null;
  readonly op = new FileOp(this, new SliceList());
  private readonly tracker: DirtyTracker;

  constructor(chunk: ChunkFile, tracker: DirtyTracker) {
    this.chunk = chunk;
    this.tracker = tracker;
  }

  get idle(): boolean {
    return !this.writing && this.leavingBytes === 0 && this.syncingBytes === 0;
  }

  fileDone(_op: FileOp, result: number): void {
    this.tracker.writebackEnded(this.chunk, result);
  }
}

export type { SyncWaiter };

export function linkBelow(chunk: ChunkFile, below: ChunkFile): void {
  chunk.below = below;
  chunk.stack = null;
  below.above.add(chunk);
  // It stays open as long as this one is.
  below.holders++;
}

export function unlinkBelow(chunk: ChunkFile): void {
  const { below } = chunk;
  if (below === null) return;
  chunk.below = null;
  chunk.stack = null;
  below.above.delete(chunk);
  below.holders--;
}
