import type { Cluster, Volume } from '../client/index.js';
import type { Clock } from '../common/clock.js';
import { RawstorError } from '../common/errors.js';
import { isId } from '../common/ids.js';
import {
  type CreateSpec,
  type Encryption,
  type FileFacts,
  nameSchema,
  type ObjectInfo,
  type VersionChange,
} from '../protocol/index.js';
import type { Space } from './answers.js';
import type { ReadDevice } from './open-file-parts.js';

export interface StoreOptions {
  readonly cluster: Cluster;
  readonly clock: Clock;
  /** How what is created here is laid out. */
  readonly layout: Omit<CreateSpec, 'name' | 'sizeBytes' | 'mode' | 'encryption'>;
  /** Of what is created here; null: it is not encrypted. */
  readonly encryptionOf: ((name: string) => Promise<Encryption>) | null;
  /** Whom the metadata server knows as the user of the volumes. */
  readonly holder: string;
  readonly timeoutMs: number;
}

/** What is listed at a time. */
const PAGE = 200;
/** Another holder that was killed leaves its lease for about two seconds. */
const BUSY_PATIENCE_MS = 4000;
const BUSY_RETRY_MS = 250;

/** The volumes of a cluster, as a directory of files needs them. */
export class Store {
  readonly cluster: Cluster;
  private readonly options: StoreOptions;

  constructor(options: StoreOptions) {
    this.options = options;
    this.cluster = options.cluster;
  }

  get holder(): string {
    return this.options.holder;
  }

  /** Volumes by name, from behind `after` on; none when there are no more. `last`: where the next page begins. */
  async page(after: string, limit = PAGE): Promise<{ volumes: ObjectInfo[]; last: string | null }> {
    const { objects } = await this.cluster.mds.call('mds.list', { after, limit }, this.options.timeoutMs);
    const volumes = objects.filter((object) => object.mode === 'mutable');
    return { volumes, last: objects.at(-1)?.name ?? null };
  }

  /** Null where there is no volume of that name. */
  async byName(name: string): Promise<ObjectInfo | null> {
    if (!isVolumeName(name)) return null;
    const object = await this.get(name);
    return object?.name === name ? object : null;
  }

  byId(id: string): Promise<ObjectInfo | null> {
    return this.get(id);
  }

  /** @throws RawstorError INVALID for names that volumes cannot have, EXISTS, UNSATISFIABLE, DENIED without a key ... */
  async create(name: string, sizeBytes: number, file: FileFacts): Promise<ObjectInfo> {
    const { layout, timeoutMs, encryptionOf } = this.options;
    if (!isVolumeName(name)) {
      throw new RawstorError('INVALID', 'volumes have no such names', {
        where: name,
        hint: 'letters, digits and _ . : + -, a letter, digit or _ first',
      });
    }
    const encryption = encryptionOf === null ? {} : { encryption: await encryptionOf(name) };
    const spec = { name, sizeBytes, ...layout, ...encryption, file };
    const { volume } = await this.cluster.createVolume(spec, timeoutMs);
    return volume;
  }

  /** @throws RawstorError BUSY where snapshots or clones are in the way, or somebody has it open; NOT_FOUND */
  async remove(id: string): Promise<void> {
    await this.patiently(() => this.cluster.removeVolume(id, { timeoutMs: this.options.timeoutMs }));
  }

  /** @throws RawstorError BUSY when somebody else writes to it */
  async notWritten(id: string): Promise<void> {
    await this.patiently(async () => {
      const lease = (await this.get(id))?.lease ?? null;
      if (lease === null || lease.holder === this.holder) return;
      throw new RawstorError('BUSY', `'${lease.holder}' has it open`, { where: id });
    });
  }

  /** @param replaces what has the name; it is removed in the same step. @throws RawstorError BUSY, EXISTS, INVALID */
  async rename(id: string, name: string, replaces?: string): Promise<void> {
    const { timeoutMs } = this.options;
    await this.patiently(() => this.cluster.renameVolume(id, name, { timeoutMs, replaces }));
  }

  /** A session that was left by a process that died is ended: as long as it is not, the volume gets no other name. @throws RawstorError BUSY */
  async endDeadSession({ id, clean, lease }: ObjectInfo): Promise<void> {
    if (clean || lease !== null) return;
    const { holder } = this.options;
    const volume = await this.cluster.openVolume(id, { mode: 'write', yields: true, holder });
    await volume.close();
  }

  /** Of a volume that is not open here. @throws RawstorError */
  change(id: string, change: VersionChange): Promise<ObjectInfo> {
    const { holder, timeoutMs } = this.options;
    return this.cluster.changeVolume(id, change, { timeoutMs, holder });
  }

  /** @throws RawstorError BUSY when somebody else writes to it */
  openWrite(id: string, fileNow: () => FileFacts): Promise<Volume> {
    const { holder } = this.options;
    return this.patiently(() => this.cluster.openVolume(id, { mode: 'write', holder, fileNow }));
  }

  async openSnapshot(id: string, snapshot: string, onEnded: () => void): Promise<ReadDevice> {
    const reader = await this.cluster.openSnapshot(id, snapshot);
    reader.onFatal = onEnded;
    return reader;
  }

  /**
   * Without keeping anybody from writing to it. After a writer that is dead its replicas are made alike by who opens it for that; whoever
   * wants to write gets it at once all the same. @param onEnded it can serve no more, and is to be opened again
   */
  async openRead(id: string, onEnded: () => void): Promise<ReadDevice> {
    for (;;) {
      try {
        const reader = await this.cluster.openHead(id);
        reader.onFatal = onEnded;
        return reader;
      } catch (error) {
        if (!(error instanceof RawstorError) || error.code !== 'NOT_FOUND') throw error;
        const info = await this.get(id);
        if (info === null) throw error;
        const volume = await this.afterDeadWriter(info);
        if (volume === null) continue;
        volume.onFatal = onEnded;
        return volume;
      }
    }
  }

  /** What files made here may still take: each is kept as often as there are replicas. */
  async space(): Promise<Space> {
    const { cluster, options } = this;
    const [{ osts }, { objects }] = await Promise.all([
      cluster.mds.call('mds.listOsts', {}, options.timeoutMs),
      cluster.mds.call('mds.stat', {}, options.timeoutMs),
    ]);
    const { replicas } = options.layout;
    const up = osts.filter((ost) => ost.alive);
    return {
      totalBytes: up.reduce((sum, ost) => sum + ost.capacityBytes, 0) / replicas,
      freeBytes: up.filter((ost) => !ost.draining).reduce((sum, ost) => sum + ost.freeBytes, 0) / replicas,
      files: objects,
    };
  }

  /** Of a writer that no server has seen for some seconds. Null: it is alive after all, or there is another. @throws RawstorError */
  private async afterDeadWriter({ id, clean, lease, sessionEpoch }: ObjectInfo): Promise<Volume | null> {
    if (clean || lease !== null) return null;
    const { holder } = this.options;
    try {
      return await this.cluster.openVolume(id, {
        mode: 'write',
        yields: true,
        holder,
        after: sessionEpoch,
        unseenSession: sessionEpoch,
      });
    } catch (error) {
      if (isBusy(error) || (error instanceof RawstorError && error.code === 'CONFLICT')) return null;
      throw error;
    }
  }

  private async get(ref: string): Promise<ObjectInfo | null> {
    try {
      const object = await this.cluster.mds.call('mds.getObj', { ref }, this.options.timeoutMs);
      return object.mode === 'mutable' ? object : null;
    } catch (error) {
      if (error instanceof RawstorError && error.code === 'NOT_FOUND') return null;
      throw error;
    }
  }

  /** Waits a little for who has it open to be gone; what snapshots and clones are in the way of is not waited for. */
  private async patiently<T>(action: () => Promise<T>): Promise<T> {
    const { clock } = this.options;
    const untilMs = clock.nowMs() + BUSY_PATIENCE_MS;
    for (;;) {
      try {
        return await action();
      } catch (error) {
        if (!isBusy(error) || !/ open/.test(error.message) || clock.nowMs() > untilMs) throw error;
        await clock.sleep(BUSY_RETRY_MS);
      }
    }
  }
}

function isBusy(error: unknown): error is RawstorError {
  return error instanceof RawstorError && error.code === 'BUSY';
}

function isVolumeName(name: string): boolean {
  return nameSchema.safeParse(name).success && !isId(name);
}
