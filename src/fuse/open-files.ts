import type { Clock, Timer } from '../common/clock.js';
import { RawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import type { Logger } from '../common/log.js';
import type { Io } from '../io/index.js';
import type { ObjectInfo, Snapshot } from '../protocol/index.js';
import { within } from './bounded.js';
import { Errno, FUSE_LIMITS } from './constants.js';
import { Refusal } from './errno.js';
import { type FileState, fileState } from './file-state.js';
import { OpenFile } from './open-file.js';
import type { Store } from './store.js';
import type { SyncListener } from './sync-failures.js';

/** How long a size that has grown may be on record nowhere: after a crash, what lies behind is gone. */
const RECORD_MS = 5000;

/** How long the end of the mount waits for a file. */
const CLOSE_MS = 10_000;

/** Answers of the metadata server may be that old; kept of so many files. */
const LATELY_MS = 1000;
const LATELY_MAX = 1024;

export interface OpenFilesParts {
  readonly io: Io;
  readonly clock: Clock;
  readonly log: Logger;
  readonly store: Store;
  /** A volume that somebody else writes to is opened for reading instead of not at all. */
  readonly readBusy: boolean;
}

interface Entry {
  readonly file: OpenFile;
  /** Resolved when it is closed; null while somebody has it open. */
  closing: Promise<void> | null;
}

/** A file as one program has it open. */
export interface Handle {
  readonly file: OpenFile;
  readonly key: string;
  readonly listener: SyncListener;
}

/** Files that are open, each once, however many have it open; closed after the last of them. */
export class OpenFiles {
  private readonly parts: OpenFilesParts;
  private readonly entries = new Map<string, Entry>();
  private readonly handles = new Map<number, Handle>();
  private readonly lately = new Map<string, FileState & { readonly atMs: number }>();
  private readonly timer: Timer;
  private nextHandle = 1;

  constructor(parts: OpenFilesParts) {
    this.parts = parts;
    this.timer = parts.clock.every(RECORD_MS, () => this.recordSizes());
  }

  get handleCount(): number {
    return this.handles.size;
  }

  get fileCount(): number {
    return this.entries.size;
  }

  handle(number: number): Handle | null {
    return this.handles.get(number) ?? null;
  }

  /** The file where somebody has it open. */
  find(key: string): OpenFile | null {
    const entry = this.entries.get(key);
    return entry === undefined || entry.closing !== null ? null : entry.file;
  }

  /** What is known of a file here that the metadata server may not know yet, or may not have known a moment ago. */
  newest(key: string): FileState | null {
    const file = this.entries.get(key)?.file;
    if (file?.isNewer) return stateOf(file);
    const closed = this.lately.get(key);
    return closed !== undefined && this.parts.clock.nowMs() - closed.atMs < LATELY_MS ? closed : null;
  }

  /** @returns a number for the kernel. @throws RawstorError BUSY, LIMIT, NOT_FOUND, UNAVAILABLE */
  async open(key: string, info: ObjectInfo, snapshot: Snapshot | null, write: boolean): Promise<number> {
    const file = await this.use(key, info, snapshot, write);
    const number = this.nextHandle++;
    this.handles.set(number, { file, key, listener: file.syncing.listener() });
    return number;
  }

  /** Resolved when the file is closed, where it was the last that had it open. */
  async release(number: number): Promise<void> {
    const handle = this.handles.get(number);
    if (handle === undefined) return;
    this.handles.delete(number);
    await this.leave(handle.key, handle.file);
  }

  /** Has the file open for writing while `action` runs. @throws RawstorError */
  async withFile<T>(key: string, info: ObjectInfo, action: (file: OpenFile) => Promise<T>): Promise<T> {
    const file = await this.use(key, info, null, true);
    try {
      return await action(file);
    } finally {
      await this.leave(key, file);
    }
  }

  /** Resolved when nobody has it open any more who has closed it already. */
  async closed(key: string): Promise<void> {
    await this.entries.get(key)?.closing;
  }

  /** Each is waited for so long only: one that waits for replicas keeps no other from being closed. */
  async close(patienceMs = CLOSE_MS): Promise<void> {
    const { clock } = this.parts;
    this.timer.cancel();
    this.handles.clear();
    const all = [...this.entries].map(([key, entry]) => {
      entry.file.handles = 1;
      const late = new RawstorError('TIMEOUT', `it is not closed after ${patienceMs} ms`);
      return within(clock, patienceMs, entry.closing ?? this.leave(key, entry.file)).then((inTime) => {
        if (!inTime) entry.file.warn(late, 'not closed in order');
      });
    });
    await Promise.all(all);
  }

  private async use(
    key: string,
    info: ObjectInfo,
    snapshot: Snapshot | null,
    write: boolean,
  ): Promise<OpenFile> {
    for (let entry = this.entries.get(key); entry?.closing; entry = this.entries.get(key))
      await entry.closing;
    const known = this.entries.get(key)?.file;
    let file = known?.dead ? undefined : known;
    if (file === undefined) {
      if (this.handles.size >= FUSE_LIMITS.handles || this.entries.size >= LIMITS.exportsPerServer) {
        this.parts.log.warn({ volumes: this.entries.size, handles: this.handles.size }, 'too many are open');
        throw new Refusal(Errno.ENFILE);
      }
      file = this.make(info, snapshot);
      file.unlinked = known?.unlinked ?? false;
      this.entries.set(key, { file, closing: null });
    }
    if (!file.writable) {
      file.take(snapshot === null ? (this.newest(key) ?? fileState(info)) : snapshotState(snapshot));
    }
    file.handles++;
    try {
      await this.begin(file, write);
      return file;
    } catch (error) {
      await this.leave(key, file);
      throw error;
    }
  }

  private async begin(file: OpenFile, write: boolean): Promise<void> {
    try {
      await file.open(write);
    } catch (error) {
      const busy = error instanceof RawstorError && error.code === 'BUSY';
      if (!write || !busy || !this.parts.readBusy) throw error;
      file.warn(error, 'somebody else writes to it: it is opened for reading only');
      await file.open(false);
    }
  }

  private make(info: ObjectInfo, snapshot: Snapshot | null): OpenFile {
    const { io, clock, log, store } = this.parts;
    const { name, id } = info;
    const state = snapshot === null ? fileState(info) : snapshotState(snapshot);
    const file: OpenFile = new OpenFile(snapshot === null ? name : `${name}@${snapshot.name}`, state, {
      pool: io.pool,
      clock,
      log,
      openRead: (onEnded) =>
        snapshot === null ? store.openRead(id, onEnded) : store.openSnapshot(id, snapshot.name!, onEnded),
      openWrite: async (fileNow) => {
        const volume = await store.openWrite(id, fileNow);
        volume.onFatal = (error) => {
          file.dead = true;
          file.warn(error, 'the volume can serve no more');
        };
        volume.onResized = () => file.resized();
        return volume;
      },
    });
    return file;
  }

  private leave(key: string, file: OpenFile): Promise<void> {
    if (--file.handles > 0) return Promise.resolve();
    const { log, store } = this.parts;
    const entry = this.entries.get(key);
    // Another took its place when it was dead.
    if (entry?.file !== file) return file.close().catch((error) => file.warn(error, 'not closed in order'));
    const done = (async () => {
      try {
        await file.close();
        if (file.unlinked) await store.remove(key);
      } catch (error) {
        log.warn({ volume: file.name, err: error }, 'not closed in order');
      }
      this.entries.delete(key);
      if (file.isNewer && !file.unlinked) this.keep(key, file);
    })();
    entry.closing = done;
    return done;
  }

  private keep(key: string, file: OpenFile): void {
    this.lately.delete(key);
    if (this.lately.size >= LATELY_MAX) this.lately.delete(this.lately.keys().next().value!);
    this.lately.set(key, { ...stateOf(file), atMs: this.parts.clock.nowMs() });
  }

  /** Of files that grow and that nobody syncs. */
  private recordSizes(): void {
    for (const { file, closing } of this.entries.values()) if (closing === null) file.syncing.syncQuietly();
  }
}

function stateOf({ sizeBytes, modifiedWallMs }: OpenFile): FileState {
  return { file: { sizeBytes, modifiedWallMs }, sizeBytes, modifiedWallMs };
}

export function snapshotState({ fileBytes, sizeBytes, createdWallMs }: Snapshot) {
  return { file: null, sizeBytes: fileBytes ?? sizeBytes, modifiedWallMs: createdWallMs };
}
