import { asRawstorError } from '../common/errors.js';
import { flush } from './device-call.js';
import type { FileRecord } from './file-record.js';
import type { FileVolume } from './open-file-parts.js';
import { SyncFailures, type SyncListener } from './sync-failures.js';

/** What is synced: a file as it is open. */
export interface SyncedFile {
  readonly volume: FileVolume | null;
  readonly sizeBytes: number;
  readonly facts: Pick<FileRecord, 'recordedBytes' | 'timeIsDue'>;
  /** @throws RawstorError */
  record(volume: FileVolume): Promise<void>;
  warn(error: unknown, what: string): void;
}

/** Has what a file is made durable: its bytes, then its size. No size is on record of which not all is durable. */
export class FileSync {
  /** So long it may be on record. */
  durableBytes = 0;
  private readonly file: SyncedFile;
  private readonly failures = new SyncFailures();
  /** How often it was made shorter. */
  private cuts = 0;
  private quiet = false;
  private recording: Promise<void> | null = null;

  constructor(file: SyncedFile) {
    this.file = file;
  }

  /** It is made shorter. */
  cut(sizeBytes: number): void {
    this.cuts++;
    this.durableBytes = Math.min(this.durableBytes, sizeBytes);
  }

  /** All that was answered is durable, and that it belongs to the file. @throws RawstorError */
  sync(): Promise<void> {
    return this.synced(flush);
  }

  listener(): SyncListener {
    return this.failures.listener();
  }

  /** For one who has it open: who has not heard yet that a sync failed does so now. @throws RawstorError */
  async syncFor(listener: SyncListener): Promise<void> {
    const error = await this.sync().then(
      () => null,
      (failed) => asRawstorError(failed),
    );
    const unheard = this.failures.heardBy(listener);
    if (error !== null || unheard !== null) throw error ?? unheard;
  }

  /** Where nobody syncs it: its size gets on record as it grows, and its time. One at a time: a flush may wait for replicas. */
  syncQuietly(): void {
    const { file } = this;
    if (this.quiet || file.volume === null) return;
    if (file.facts.recordedBytes === file.sizeBytes && !file.facts.timeIsDue) return;
    this.quiet = true;
    // What is lost is for a program to hear of, not for us.
    this.synced((volume) => volume.flush())
      .catch((error) => file.warn(error, 'its size is not on record yet'))
      .finally(() => {
        this.quiet = false;
      });
  }

  private async synced(flushed: (volume: FileVolume) => Promise<void>): Promise<void> {
    for (let cuts = -1; cuts !== this.cuts; ) {
      const { volume, sizeBytes } = this.file;
      if (volume === null) return;
      cuts = this.cuts;
      await flushed(volume).catch((error) => this.failures.failed(asRawstorError(error)));
      // What was shorter meanwhile may have grown again with what is not durable.
      if (cuts === this.cuts) this.durableBytes = Math.max(this.durableBytes, sizeBytes);
    }
    const { file } = this;
    // One on its way may not know of the latest sync.
    while (file.volume !== null && (this.durableBytes !== file.facts.recordedBytes || file.facts.timeIsDue)) {
      this.recording ??= file.record(file.volume).finally(() => {
        this.recording = null;
      });
      await this.recording;
    }
  }
}
