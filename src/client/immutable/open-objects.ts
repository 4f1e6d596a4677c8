import type { BlockDevice } from '../../block/device.js';
import type { Clock, Timer } from '../../common/clock.js';
import { RawstorError } from '../../common/errors.js';
import type { Logger } from '../../common/log.js';
import type { ObjectInfo } from '../../protocol/object-info.js';
import type { Snapshot } from '../../protocol/records.js';
import type { Cluster } from '../cluster.js';
import type { SnapshotReader } from '../snapshot/reader.js';
import type { Volume } from '../volume.js';
import type { Extent } from './extent.js';
import { Mender } from './mender.js';
import { wholeBlocks } from './whole-blocks.js';

/** Frozen versions kept open for the next read. */
const READERS = 128;
const IDLE_MS = 30_000;
const SEAL_TIMEOUT_MS = 20_000;

interface OpenReader {
  readonly device: Promise<SnapshotReader>;
  users: number;
  idleSinceMs: number;
}

/** A device while it is read; `release` once. */
export interface Borrowed {
  readonly device: BlockDevice;
  release(): void;
}

/**
 * The devices that content is read from: those that this process writes, else a frozen version, which needs no lease. Who meets
 * something that is not frozen yet has it frozen: by its writer, or here, when that one is dead.
 */
export class OpenObjects {
  private readonly cluster: Cluster;
  private readonly clock: Clock;
  private readonly log: Logger;
  private readonly written = new Map<string, Volume>();
  private readonly readers = new Map<string, OpenReader>();
  /** Readers of contents, by object. */
  private readonly held = new Map<string, number>();
  private readonly timer: Timer;
  private readonly mender: Mender;
  /** This process does not write an object any more. */
  onLeft: ((id: string) => void) | null = null;

  constructor(cluster: Cluster, env: { clock: Clock; log: Logger }) {
    this.cluster = cluster;
    this.clock = env.clock;
    this.log = env.log;
    this.mender = new Mender(cluster, env);
    this.timer = env.clock.every(IDLE_MS / 3, () => this.closeIdle(IDLE_MS));
  }

  /** This process writes the object until `leave`. */
  enter(volume: Volume): void {
    this.written.set(volume.object.id, volume);
  }

  leave(volume: Volume): void {
    const { id } = volume.object;
    if (this.written.get(id) !== volume) return;
    this.written.delete(id);
    this.onLeft?.(id);
  }

  /** A content in these is being read, from its first byte to its last: `release` once. */
  hold(objectIds: Iterable<string>): () => void {
    const held = new Set(objectIds);
    for (const id of held) this.held.set(id, (this.held.get(id) ?? 0) + 1);
    return () => {
      for (const id of held) {
        const left = this.held.get(id)! - 1;
        if (left > 0) this.held.set(id, left);
        else this.held.delete(id);
      }
    };
  }

  isUsed(objectId: string): boolean {
    if (this.written.has(objectId) || this.held.has(objectId)) return true;
    for (const [key, { users }] of this.readers) if (users > 0 && key.startsWith(objectId)) return true;
    return false;
  }

  /** @throws RawstorError NOT_FOUND, UNAVAILABLE */
  async borrow({ objectId, version }: Extent): Promise<Borrowed> {
    const volume = this.written.get(objectId);
    if (volume !== undefined) return { device: volume, release: () => {} };
    const key = `${objectId}/${version}`;
    let reader = this.readers.get(key);
    if (reader === undefined) {
      if (this.readers.size >= READERS) this.closeIdle(0);
      reader = { device: this.openReader(objectId, version), users: 0, idleSinceMs: 0 };
      this.readers.set(key, reader);
      const opened = reader;
      const forget = () => {
        if (this.readers.get(key) === opened) this.readers.delete(key);
      };
      reader.device.then((device) => {
        device.onFatal = forget;
        device.onDamaged = () => this.mender.damaged(objectId);
      }, forget);
    }
    reader.users++;
    const release = () => {
      reader.users--;
      reader.idleSinceMs = this.clock.nowMs();
    };
    try {
      return { device: await reader.device, release };
    } catch (error) {
      release();
      throw error;
    }
  }

  /** Cuts the object of a content to that and freezes it, where nobody has frozen it yet. @throws RawstorError TIMEOUT, EXISTS */
  async cut({ objectId, version, length }: Extent): Promise<void> {
    const object = await this.cluster.mds.call('mds.getObj', { ref: objectId });
    const whole = wholeBlocks(length);
    if (object.sizeBytes <= whole || frozenAt(object, version) !== null) return;
    const options = { timeoutMs: SEAL_TIMEOUT_MS };
    await this.cluster.changeVolume(objectId, { kind: 'resize', sizeBytes: whole }, options);
    const change = { kind: 'snapshot', name: `ended-${object.headVersion}` } as const;
    await this.cluster.changeVolume(objectId, change, options);
  }

  async close(): Promise<void> {
    this.timer.cancel();
    await this.mender.close();
    const open = [...this.readers.values()];
    this.readers.clear();
    await Promise.allSettled(open.map(async ({ device }) => (await device).close()));
  }

  private async openReader(objectId: string, version: number): Promise<SnapshotReader> {
    const object = await this.cluster.mds.call('mds.getObj', { ref: objectId });
    let frozen = frozenAt(object, version);
    if (frozen === null) {
      if (object.mode !== 'immutable') throw gone(object.name, version);
      const change = { kind: 'snapshot', name: `sealed-${object.headVersion}` } as const;
      const options = { timeoutMs: SEAL_TIMEOUT_MS };
      const now = await this.cluster.changeVolume(objectId, change, options).catch((error) => {
        if (error instanceof RawstorError && error.code === 'EXISTS') return null;
        throw error;
      });
      frozen = frozenAt(now ?? (await this.cluster.mds.call('mds.getObj', { ref: objectId })), version);
    }
    if (frozen === null) throw gone(object.name, version);
    return this.cluster.openSnapshot(objectId, frozen.name!);
  }

  private closeIdle(idleMs: number): void {
    const nowMs = this.clock.nowMs();
    for (const [key, reader] of this.readers) {
      if (reader.users > 0 || nowMs - reader.idleSinceMs < idleMs) continue;
      this.readers.delete(key);
      void reader.device
        .then((device) => device.close())
        .catch((error) => this.log.debug({ reason: String(error) }, 'a reader did not close'));
    }
  }
}

/** Of a sealed object any later version shows it too, as nothing is written twice; of a volume only the version itself. */
function frozenAt({ snapshots, mode }: ObjectInfo, version: number): Snapshot | null {
  const named = snapshots.filter((one) => one.name !== null);
  const fit = named.filter((one) =>
    mode === 'immutable' ? one.version >= version : one.version === version,
  );
  return fit.sort((a, b) => a.version - b.version)[0] ?? null;
}

function gone(name: string, version: number): RawstorError {
  return new RawstorError('NOT_FOUND', `version ${version} of the data is not there any more`, {
    where: name,
  });
}
