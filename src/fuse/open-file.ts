import { RangeLocks } from '../client/index.js';
import { asRawstorError, RawstorError } from '../common/errors.js';
import type { FileFacts, ObjectInfo } from '../protocol/index.js';
import { DirtyEnd } from './dirty-end.js';
import { allocateRange, zeroRange } from './file-ranges.js';
import { FileRecord } from './file-record.js';
import { type FileState, fileState } from './file-state.js';
import { FileSync } from './file-sync.js';
import { checkFileSize, growPatiently } from './growth.js';
import type { FileVolume, OpenFileParts, ReadDevice } from './open-file-parts.js';
import { grownBytes, sectorCeil, volumeBytes } from './sectors.js';
import { withLock } from './whole-lock.js';

/** Of a file that is open: its device, its size, and how both change. One for all who have it open here. */
export class OpenFile {
  readonly name: string;
  readonly locks = new RangeLocks();
  readonly facts: FileRecord;
  readonly syncing: FileSync;
  readonly end = new DirtyEnd(this);
  /** Null before the first open, and when it is closed. */
  device: ReadDevice | null = null;
  /** The same device where it may be written. */
  volume: FileVolume | null = null;
  sizeBytes: number;
  modifiedWallMs: number;
  handles = 0;
  /** Of these, those for writing. */
  writers = 0;
  /** Of the volume's record when it was closed here last. */
  closedEpoch = 0;
  private takenEpoch = 0;
  /** To be removed when the last one closes it. */
  unlinked = false;
  /** It was said that it stays open for writing, though nobody writes it. */
  saidToStay = false;
  /** It was written by what can serve no more: who has it open gets errors, who opens it now gets another. */
  dead = false;
  /** What it is read by can serve no more. */
  lost = false;
  private readonly parts: OpenFileParts;
  /** Changes of the device or its size, one after the other. */
  private turn: Promise<unknown> = Promise.resolve();
  private settling = false;
  private saidToWait = false;

  constructor(name: string, info: FileState, parts: OpenFileParts) {
    this.name = name;
    this.parts = parts;
    this.facts = new FileRecord(this, parts.clock);
    this.syncing = new FileSync(this);
    this.sizeBytes = info.sizeBytes;
    this.modifiedWallMs = info.modifiedWallMs;
  }

  /** What is known here is newer than what the metadata server says. */
  get isNewer(): boolean {
    return !this.dead && (this.volume !== null || this.settling);
  }

  get writable(): boolean {
    return this.volume !== null;
  }

  /** Has it open, for writing where that is wanted. @throws RawstorError BUSY, UNAVAILABLE ... */
  open(write: boolean): Promise<void> {
    return this.inTurn(async () => {
      if (this.volume !== null || (this.device !== null && !write && !this.lost)) return;
      const before = this.device;
      if (write) await this.begin(await this.parts.openWrite(() => this.now));
      else await this.beginReading();
      // What it is asked for still is answered first.
      await before?.close();
    });
  }

  /** The last one has closed it: the volume is made as large as the file, which is on record, and is closed. */
  close(): Promise<void> {
    return this.inTurn(async () => {
      const { device, volume } = this;
      this.settling = volume !== null;
      this.device = null;
      this.volume = null;
      if (volume !== null && !this.unlinked) {
        await this.facts.settle(volume).catch((error) => this.warn(error, 'its size is not on record'));
      }
      await device?.close();
      if (volume !== null) this.closedEpoch = volume.object.epoch;
    });
  }

  /**
   * Nobody has it open for writing any more, and some do for reading: it is settled as at a close, and read from now on as others read it,
   * who may write it then. What is read meanwhile is answered. @throws RawstorError: then it is as it was
   */
  leaveToReaders(): Promise<void> {
    return this.inTurn(async () => {
      const { volume } = this;
      if (volume === null || this.writers > 0 || this.handles === 0 || this.unlinked || this.dead) return;
      await this.facts.settle(volume);
      this.settling = true;
      try {
        await this.beginReading();
        this.volume = null;
        await volume.close();
        this.closedEpoch = volume.object.epoch;
      } finally {
        this.settling = false;
      }
    });
  }

  /** A write past the end is about to come: the volume is large enough, and what lies between is zeros. @throws RawstorError */
  grow(toBytes: number): Promise<void> {
    return this.inTurn(() => this.reach(toBytes, false));
  }

  /** While it is not written here: as it is known now, by a record of that epoch. */
  take({ sizeBytes, modifiedWallMs }: FileState, epoch: number): void {
    this.sizeBytes = sizeBytes;
    this.modifiedWallMs = modifiedWallMs;
    this.takenEpoch = epoch;
  }

  /** What is read up to there is not known well enough: others may have made it longer, or what it is read by knows an older one. */
  isBehind(endBytes: number): boolean {
    if (this.volume !== null) return false;
    const epoch = this.device?.object?.epoch ?? this.takenEpoch;
    return endBytes > this.sizeBytes || (this.device?.refresh !== undefined && epoch < this.takenEpoch);
  }

  /** What others write is read by what looks at the record now and then: the file is what that says, shorter too. */
  follow(): void {
    const { device } = this;
    if (this.volume !== null || device?.refresh === undefined) return;
    const object = device.object!;
    if (object.epoch > this.takenEpoch) this.take(fileState(object), object.epoch);
  }

  /** Where others write it: as it is now. @throws RawstorError */
  async refresh(): Promise<void> {
    const { device } = this;
    if (this.volume !== null || device?.refresh === undefined) return;
    await device.refresh();
    if (this.device === device) this.follow();
  }

  /** What is known of the volume here; null where the metadata server knows better. */
  get known(): ObjectInfo | null {
    if (this.dead || this.lost || this.device?.refresh !== undefined) return null;
    return this.device?.object ?? null;
  }

  /** The volume has another size: unless that was done here, somebody else has made the file as large. */
  resized(): void {
    const { volume } = this;
    if (volume === null || this.facts.changing) return;
    const before = this.sizeBytes;
    this.take(fileState(volume.object), volume.object.epoch);
    if (this.sizeBytes < before) this.syncing.cut(this.sizeBytes);
    this.syncing.durableBytes = this.sizeBytes;
    if (this.sizeBytes < before) this.end.reaches(before);
  }

  needsGrowth(endBytes: number): boolean {
    return endBytes > this.device!.sizeBytes || this.end.zeroesFor(endBytes);
  }

  wrote(endBytes: number): void {
    if (endBytes > this.sizeBytes) this.sizeBytes = endBytes;
    this.parts.wrote(endBytes);
    this.modifiedWallMs = this.parts.clock.wallMs();
  }

  /** Of a write nobody was told how it went. */
  wroteUnheard(): void {
    this.parts.wrote(null);
  }

  /** @throws RawstorError */
  truncate(sizeBytes: number): Promise<void> {
    return withLock(this.locks, 0, Number.MAX_SAFE_INTEGER, async () => {
      const volume = this.opened();
      if (sizeBytes > this.sizeBytes) await this.inTurn(() => this.reach(sizeBytes, true));
      else await zeroRange(volume, this.parts.pool, sizeBytes, this.sizeBytes);
      if (sizeBytes < this.sizeBytes) this.syncing.cut(sizeBytes);
      this.sizeBytes = sizeBytes;
      this.modifiedWallMs = this.parts.clock.wallMs();
    });
  }

  /** `allocate`: takes the space of what is a hole; else it becomes one. @throws RawstorError */
  async range(what: 'allocate' | 'zero', from: number, to: number, keepSize: boolean): Promise<void> {
    const end = () => (keepSize ? Math.min(to, this.sizeBytes) : to);
    for (let done = false; !done; ) {
      const [lockStart, lockEnd] = [
        this.end.lockStart(from, end()),
        Math.max(this.end.lockEnd(end()), sectorCeil(to)),
      ];
      done = await withLock(this.locks, lockStart, lockEnd, async () => {
        if (this.end.lockStart(from, end()) < lockStart || this.end.lockEnd(end()) > lockEnd) return false;
        await this.rangeLocked(what, from, end());
        return true;
      });
    }
  }

  private async rangeLocked(what: 'allocate' | 'zero', from: number, end: number): Promise<void> {
    const volume = this.opened();
    if (end > this.sizeBytes) await this.inTurn(() => this.reach(end, true));
    if (what === 'allocate') await allocateRange(volume, from, end);
    else await zeroRange(volume, this.parts.pool, from, end);
    this.wrote(end);
  }

  /** All that was answered is durable, and that it belongs to the file. @throws RawstorError */
  sync(): Promise<void> {
    return this.syncing.sync();
  }

  get sizeUnrecorded(): boolean {
    return this.volume !== null && this.sizeBytes !== this.facts.recordedBytes;
  }

  warn(error: unknown, what: string): void {
    this.parts.log.warn({ volume: this.name, reason: asRawstorError(error).message }, what);
  }

  private async beginReading(): Promise<void> {
    const opening: { device: ReadDevice | null } = { device: null };
    opening.device = await this.parts.openRead(() => {
      if (this.device === opening.device) this.lost = true;
    });
    this.device = opening.device;
    this.lost = false;
  }

  /** After a crash the volume may be larger than the file, and have what never got to belong to it. */
  private async begin(volume: FileVolume): Promise<void> {
    this.volume = volume;
    this.device = volume;
    this.lost = false;
    this.take(fileState(volume.object), volume.object.epoch);
    this.syncing.durableBytes = this.sizeBytes;
    // What is too much is given back at the close: that may have to wait for replicas, an open does not.
    // Somebody else may have written to the rest of the last sector.
    this.end.toBytes = this.sizeBytes < volume.sizeBytes ? volume.sizeBytes : 0;
  }

  private async reach(toBytes: number, exactly: boolean): Promise<void> {
    const volume = this.opened();
    const { chunkSizeBytes } = volume.object;
    checkFileSize(this.name, toBytes, chunkSizeBytes);
    if (this.end.toBytes > 0) {
      await zeroRange(volume, this.parts.pool, this.sizeBytes, Math.min(this.end.toBytes, volume.sizeBytes));
      this.end.toBytes = 0;
    }
    if (toBytes <= volume.sizeBytes) return;
    const sizeBytes = exactly ? volumeBytes(toBytes) : grownBytes(toBytes, chunkSizeBytes);
    const grow = () => this.facts.grow(volume, sizeBytes);
    await growPatiently(this.parts.clock, grow, (error) => {
      if (!this.saidToWait) this.warn(error, 'the file cannot grow yet: it is tried again');
      this.saidToWait = true;
    });
  }

  /** What is durable of it. @throws RawstorError */
  record(volume: FileVolume): Promise<void> {
    return this.inTurn(() => this.facts.put(volume));
  }

  private get now(): FileFacts {
    return { sizeBytes: this.sizeBytes, modifiedWallMs: this.modifiedWallMs };
  }

  private opened(): FileVolume {
    if (this.volume !== null) return this.volume;
    throw new RawstorError('READ_ONLY', 'it is open for reading only', { where: this.name });
  }

  private inTurn<T>(action: () => Promise<T>): Promise<T> {
    const done = this.turn.then(action);
    this.turn = done.catch(() => {});
    return done;
  }
}
