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
import type { Nodes } from './nodes.js';
import { OpenFile } from './open-file.js';
import { Removals } from './removals.js';
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
  readonly nodes: Pick<Nodes, 'wrote'>;
  /** A volume that somebody else writes to is opened for reading instead of not at all. */
  readonly readBusy: boolean;
}

interface Entry {
  readonly file: OpenFile;
  /** Resolved when it is closed; null while somebody has it open. */
  closing: Promise<void> | null;
}

/** A file as it was closed. */
interface Closed extends FileState {
  readonly epoch: number;
  readonly atMs: number;
}

/** A file as one program has it open. */
export interface Handle {
  readonly file: OpenFile;
  readonly write: boolean;
  readonly key: string;
  readonly listener: SyncListener;
}

/** Files that are open, each once, however many have it open; closed after the last of them. */
export class OpenFiles {
  private readonly parts: OpenFilesParts;
  private readonly entries = new Map<string, Entry>();
  private readonly handles = new Map<number, Handle>();
  private readonly lately = new Map<string, Closed>();
  private readonly timer: Timer;
  readonly removals: Removals;
  private nextHandle = 1;

  constructor(parts: OpenFilesParts) {
    this.parts = parts;
    this.removals = new Removals(parts);
    this.timer = parts.clock.every(RECORD_MS, () => this.lookAround());
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

  /**
   * What is known of a file here that the metadata server may not know yet, or did not know when it gave the record `info`. A record of
   * a later epoch has what was closed here, and what others did since.
   */
  newest(key: string, info: Pick<ObjectInfo, 'epoch'>): FileState | null {
    const file = this.entries.get(key)?.file;
    if (file?.isNewer) return stateOf(file);
    return this.closedLately(key, info);
  }

  private closedLately(key: string, info: Pick<ObjectInfo, 'epoch'>): Closed | null {
    const closed = this.lately.get(key);
    if (closed === undefined || info.epoch > closed.epoch) return null;
    return this.parts.clock.nowMs() - closed.atMs < LATELY_MS ? closed : null;
  }

  /** @returns a number for the kernel. @throws RawstorError BUSY, LIMIT, NOT_FOUND, UNAVAILABLE */
  async open(key: string, info: ObjectInfo, snapshot: Snapshot | null, write: boolean): Promise<number> {
    const file = await this.use(key, info, snapshot, write);
    const number = this.nextHandle++;
    this.handles.set(number, { file, write, key, listener: file.syncing.listener() });
    return number;
  }

  /** Resolved when the file is closed, where it was the last that had it open. */
  async release(number: number): Promise<void> {
    const handle = this.handles.get(number);
    if (handle === undefined) return;
    this.handles.delete(number);
    await this.leave(handle.key, handle.file, handle.write);
  }

  /** Has the file open for writing while `action` runs. @throws RawstorError */
  async withFile<T>(key: string, info: ObjectInfo, action: (file: OpenFile) => Promise<T>): Promise<T> {
    const file = await this.use(key, info, null, true);
    try {
      return await action(file);
    } finally {
      await this.leave(key, file, true);
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
      return within(clock, patienceMs, entry.closing ?? this.leave(key, entry.file, false)).then((inTime) => {
        if (!inTime) entry.file.warn(late, 'not closed in order');
      });
    });
    await Promise.all(all);
    await within(clock, patienceMs, this.removals.tryAgain());
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
      const closed = snapshot === null ? this.closedLately(key, info) : null;
      const state = closed ?? (snapshot === null ? fileState(info) : snapshotState(snapshot));
      file.take(state, closed?.epoch ?? info.epoch);
    }
    file.handles++;
    if (write) file.writers++;
    try {
      await this.begin(file, write);
      return file;
    } catch (error) {
      await this.leave(key, file, write);
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
    const { io, clock, log, store, nodes } = this.parts;
    const { name, id } = info;
    const state = snapshot === null ? fileState(info) : snapshotState(snapshot);
    const file: OpenFile = new OpenFile(snapshot === null ? name : `${name}@${snapshot.name}`, state, {
      pool: io.pool,
      clock,
      log,
      wrote: (endBytes) => nodes.wrote(id, endBytes),
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

  private leave(key: string, file: OpenFile, write: boolean): Promise<void> {
    if (write) file.writers--;
    if (--file.handles > 0)
      return write && file.writers === 0 ? this.leaveToReaders(key, file) : Promise.resolve();
    const { log } = this.parts;
    const entry = this.entries.get(key);
    // Another took its place when it was dead.
    if (entry?.file !== file) return file.close().catch((error) => file.warn(error, 'not closed in order'));
    const done = (async () => {
      try {
        await file.close();
        if (file.unlinked) await this.removals.remove(key, file.name);
      } catch (error) {
        log.warn({ volume: file.name, err: error }, 'not closed in order');
      }
      this.entries.delete(key);
      if (file.isNewer && !file.unlinked) this.keep(key, file);
    })();
    entry.closing = done;
    return done;
  }

  private async leaveToReaders(key: string, file: OpenFile): Promise<void> {
    try {
      const { closedEpoch } = file;
      await file.leaveToReaders();
      if (file.closedEpoch !== closedEpoch) this.keep(key, file);
    } catch (error) {
      // It is tried again, with the sizes.
      if (!file.saidToStay) file.warn(error, 'who reads it keeps it from being written elsewhere');
      file.saidToStay = true;
    }
  }

  private keep(key: string, file: OpenFile): void {
    this.lately.delete(key);
    if (this.lately.size >= LATELY_MAX) this.lately.delete(this.lately.keys().next().value!);
    this.lately.set(key, { ...stateOf(file), epoch: file.closedEpoch, atMs: this.parts.clock.nowMs() });
  }

  /** Of files that grow and that nobody syncs; and what could not be done when it was due. */
  private lookAround(): void {
    for (const [key, { file, closing }] of this.entries) {
      if (closing !== null) continue;
      file.syncing.syncQuietly();
      if (file.writable && file.writers === 0) void this.leaveToReaders(key, file);
    }
    void this.removals.tryAgain();
  }
}

function stateOf({ sizeBytes, modifiedWallMs }: OpenFile): FileState {
  return { file: { sizeBytes, modifiedWallMs }, sizeBytes, modifiedWallMs };
}

export function snapshotState({ fileBytes, sizeBytes, createdWallMs }: Snapshot) {
  return { file: null, sizeBytes: fileBytes ?? sizeBytes, modifiedWallMs: createdWallMs };
}
