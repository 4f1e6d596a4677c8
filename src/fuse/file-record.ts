import type { Clock } from '../common/clock.js';
import type { FileFacts, VersionChange } from '../protocol/index.js';
import type { FileSync } from './file-sync.js';
import type { FileVolume } from './open-file-parts.js';
import { volumeBytes } from './sectors.js';

/** How long a time may be on record nowhere: each is a change at the metadata server. */
const TIME_MS = 60_000;

/** Whose size and time are put on record. */
export interface RecordedFile {
  readonly volume: FileVolume | null;
  readonly sizeBytes: number;
  readonly modifiedWallMs: number;
  readonly syncing: Pick<FileSync, 'durableBytes'>;
}

/** What the metadata server has on record of a file that is open for writing here. */
export class FileRecord {
  private readonly file: RecordedFile;
  private readonly clock: Clock;
  private changes = 0;
  private timeAtMs: number;

  constructor(file: RecordedFile, clock: Clock) {
    this.file = file;
    this.clock = clock;
    this.timeAtMs = clock.nowMs();
  }

  /** A change of ours is under way. */
  get changing(): boolean {
    return this.changes > 0;
  }

  /** Others may change it too. Null: there is no file of it on record. */
  get recordedBytes(): number | null {
    return this.file.volume?.object.file?.sizeBytes ?? null;
  }

  /** It was written a while ago, and others are still told an older time. */
  get timeIsDue(): boolean {
    const { volume, modifiedWallMs } = this.file;
    if (volume === null || this.clock.nowMs() - this.timeAtMs < TIME_MS) return false;
    return modifiedWallMs !== volume.object.file?.modifiedWallMs;
  }

  /** What is durable. @throws RawstorError */
  put(volume: FileVolume): Promise<void> {
    return this.change({ kind: 'file', file: this.facts }, volume);
  }

  /** The volume is made larger. @throws RawstorError */
  grow(volume: FileVolume, sizeBytes: number): Promise<void> {
    return this.change({ kind: 'resize', sizeBytes, file: this.facts }, volume);
  }

  /** The volume is made as large as the file, which is durable and on record. @throws RawstorError */
  async settle(volume: FileVolume): Promise<void> {
    const { syncing } = this.file;
    if (this.file.sizeBytes !== syncing.durableBytes) {
      await volume.flush();
      syncing.durableBytes = this.file.sizeBytes;
    }
    const { facts } = this;
    const sizeBytes = volumeBytes(facts.sizeBytes);
    const { file: recorded } = volume.object;
    if (sizeBytes !== volume.sizeBytes) await this.change({ kind: 'resize', sizeBytes, file: facts }, volume);
    else if (facts.sizeBytes !== recorded?.sizeBytes || facts.modifiedWallMs !== recorded.modifiedWallMs)
      await this.put(volume);
  }

  private get facts(): FileFacts {
    return { sizeBytes: this.file.syncing.durableBytes, modifiedWallMs: this.file.modifiedWallMs };
  }

  private async change(change: VersionChange, volume: FileVolume): Promise<void> {
    this.changes++;
    this.timeAtMs = this.clock.nowMs();
    try {
      await volume.change(change);
    } finally {
      this.changes--;
    }
  }
}
