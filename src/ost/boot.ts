import { readFileSync } from 'node:fs';
import { asRawstorError, ERROR_CODES } from '../common/errors.js';
import type { BootId } from '../protocol/index.js';
import type { OstEnvironment } from './environment.js';
import { bootChange } from './record-changes.js';
import type { BootRecord, Records } from './records.js';
import type { ChunkName, ChunkStorage } from './storage.js';

const RETRY_MS = 500;

/**
 * The boot id of an OST (I8): that of a kernel, whose page cache outlives this process, and a generation
 * that rises whenever unflushed writes are known to be lost (I10). It stays over a stop with everything flushed, whatever comes then; over any
 * other only while the same kernel has the same file system mounted.
 */
export class Boot {
  private readonly env: OstEnvironment;
  private readonly storage: ChunkStorage;
  private readonly records: Records;
  private readonly openChunks: () => Iterable<{ objectId: string; name: ChunkName }>;
  private readonly hasLayers: () => boolean;
  private kernel = '';
  private generation = 0;
  /** What the next start is compared with. */
  private place: Pick<BootRecord, 'machine' | 'mount' | 'directory'> = {};
  /** What the last process had not flushed is gone with the kernel or the mounted file system that had it. */
  powerLost = false;
  /** Holes of layered chunks may be none (`layers/settle-holes.ts`): of that, or of a loss that an earlier process did not see to the end. */
  unsettled = false;
  /** Of an earlier one: what was sealed since says nothing of them. */
  unsettledBefore = false;
  /** The losses so far are recorded. */
  private recording: Promise<void> = Promise.resolve();

  constructor(
    env: OstEnvironment,
    storage: ChunkStorage,
    records: Records,
    openChunks: () => Iterable<{ objectId: string; name: ChunkName }>,
    hasLayers: () => boolean,
  ) {
    this.env = env;
    this.hasLayers = hasLayers;
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
    const machine = env.kernelBootId ?? readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    this.place = { machine, ...(env.place ?? storage.place()) };
    this.generation = before?.generation ?? 1;
    this.kernel = before?.kernel ?? machine;
    const noted = storage.lossNoted();
    let lost = noted;
    this.powerLost = before !== null && this.isLost(before);
    if (this.powerLost) {
      if (this.kernel === machine) lost = true;
      this.kernel = machine;
    } else if (before !== null && !before.clean) {
      // The last process was killed: its writes are in the page cache, and a flush here would not know of them.
      await storage.syncAll().catch((error) => {
        env.log.error({ reason: asRawstorError(error).toUserText() }, 'writes of the last process are lost');
        lost = true;
      });
    }
    this.unsettledBefore = before?.unsettled === true;
    this.unsettled = (this.powerLost || this.unsettledBefore) && this.hasLayers();
    if (lost) {
      this.generation++;
      await storage.dropCaches();
    }
    // Durable before anything is served: what is written from here on is not flushed.
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

  /** Every hole that a power loss has left in doubt is one by now, or is data. Durable when resolved. */
  async holesSettled(): Promise<void> {
    await this.write(false, false);
    this.unsettled = false;
  }

  /** `clean`: everything is flushed, and nothing is written any more. */
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

  /** Whether something of the last process may be missing here that it had, flushed or not. */
  private isLost({ kernel, clean, machine = kernel, mount, directory }: BootRecord): boolean {
    const { place } = this;
    // A copy of the directory may be of any earlier time.
    if (directory !== undefined && directory !== place.directory) return true;
    const sameKernel = machine === place.machine;
    // An older program did not note which directory it was.
    if (clean) return directory === undefined && !sameKernel;
    return !sameKernel || (mount !== undefined && mount !== place.mount);
  }

  private write(clean: boolean, unsettled = this.unsettled): Promise<void> {
    const { generation, kernel, place } = this;
    const doubt = unsettled ? { unsettled } : {};
    return this.records.commit([bootChange({ generation, kernel, clean, ...doubt, ...place })]);
  }
}
