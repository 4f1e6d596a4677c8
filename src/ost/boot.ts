import { readFileSync } from 'node:fs';
import { asRawstorError, ERROR_CODES } from '../common/errors.js';
import type { BootId } from '../protocol/index.js';
import type { OstEnvironment } from './environment.js';
import { bootChange } from './record-changes.js';
import type { Records } from './records.js';
import type { ChunkName, ChunkStorage } from './storage.js';

const RETRY_MS = 500;

/**
 * The boot id of an OST (I8): that of the kernel, whose page cache outlives this process, and a generation
 * that rises whenever unflushed writes are known to be lost (I10).
 */
export class Boot {
  private readonly env: OstEnvironment;
  private readonly storage: ChunkStorage;
  private readonly records: Records;
  private readonly openChunks: () => Iterable<{ objectId: string; name: ChunkName }>;
  private kernel = '';
  private generation = 0;
  /** The kernel under which the last process wrote is gone, and it had not closed its files. */
  powerLost = false;
  /** The losses so far are recorded. */
  private recording: Promise<void> = Promise.resolve();

  constructor(
    env: OstEnvironment,
    storage: ChunkStorage,
    records: Records,
    openChunks: () => Iterable<{ objectId: string; name: ChunkName }>,
  ) {
    this.env = env;
    this.openChunks = openChunks;
    this.storage = storage;
    this.records = records;
  }

  get id(): BootId {
    return { kernel: this.kernel, generation: this.generation };
  }

  /** Takes up where the last process ended. */
  async open(): Promise<void> {
    const { env, storage } = this;
    const before = this.records.boot();
    this.kernel = env.kernelBootId ?? readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    this.generation = before?.generation ?? 1;
    this.powerLost = before !== null && !before.clean && before.kernel !== this.kernel;
    const noted = storage.lossNoted();
    let lost = noted;
    if (before !== null && !before.clean && before.kernel === this.kernel) {
      // The last process was killed: its writes are in the page cache, and a flush here would not know of them.
      await storage.syncAll().catch((error) => {
        env.log.error({ reason: asRawstorError(error).toUserText() }, 'writes of the last process are lost');
        lost = true;
      });
    }
    if (lost) {
      this.generation++;
      await storage.dropCaches();
    }
    await this.write(false);
    if (noted) await storage.forgetLoss();
  }

  /**
   * A new generation from this moment on. It is noted at once, so that a kill does not hide the loss, and then
   * recorded; nobody attaches before that is done: see `settled`.
   */
  lose(reason: string): void {
    const { env, storage } = this;
    env.log.error({ reason }, 'unflushed writes may be lost, this OST takes a new generation');
    try {
      storage.noteLoss();
    } catch (error) {
      env.log.error({ reason: asRawstorError(error).toUserText() }, 'the loss cannot be noted');
    }
    this.generation++;
    this.recording = this.recording.then(() => this.record(this.generation));
    this.recording.catch((error) => {
      // Nothing can be promised any more; a restart reads what the disk has.
      env.log.fatal({ reason: asRawstorError(error).toUserText() }, 'the loss cannot be recorded');
      (env.onFatal ?? (() => process.exit(ERROR_CODES.IO.exit)))();
    });
  }

  /** Resolves when every loss so far is recorded and the pages of its time are forgotten. */
  async settled(): Promise<void> {
    let waitedFor: Promise<void>;
    do {
      waitedFor = this.recording;
      await waitedFor;
    } while (waitedFor !== this.recording);
  }

  /** `clean`: everything is flushed. */
  async close(clean: boolean): Promise<void> {
    await this.settled();
    await this.write(clean);
  }

  private async record(generation: number): Promise<void> {
    for (;;) {
      try {
        await this.write(false);
        break;
      } catch (error) {
        if (asRawstorError(error).code !== 'NO_SPACE') throw error;
        await this.env.clock.sleep(RETRY_MS);
      }
    }
    // A closed file was flushed without an error.
    for (const { objectId, name } of this.openChunks()) await this.storage.dropCache(objectId, name);
    if (generation === this.generation) await this.storage.forgetLoss();
  }

  private write(clean: boolean): Promise<void> {
    return this.records.commit([bootChange({ generation: this.generation, kernel: this.kernel, clean })]);
  }
}
