import type { BlockDevice, Mark } from '../../block/index.js';
import { type Cluster, MovableVolume, marksOf } from '../../client/index.js';
import type { Clock } from '../../common/clock.js';
import { RawstorError } from '../../common/errors.js';
import { LIMITS } from '../../common/limits.js';
import { formatSizeBytes } from '../../common/units.js';
import type { ExportFacts, ExportName, ExportSource } from '../../nbd-server/index.js';
import { nameSchema, type ObjectInfo } from '../../protocol/index.js';
import { namedSnapshot, namedSnapshots, splitSnapshotRef } from '../snapshots.js';
import { allVolumes, volumeInfo } from '../volumes.js';

export interface VolumeExportsOptions {
  readonly cluster: Cluster;
  readonly clock: Clock;
  /** Whom the metadata server knows as the user of the volumes. */
  readonly holder: () => string;
  /** A volume that another process has is waited for, to go over with its guest; else it is BUSY. */
  readonly standby: boolean;
  /** As `MovableOptions` has it. */
  readonly tellsStops: boolean;
  /** As `MovableOptions` has it. */
  readonly after?: number;
  /** Only this volume; default: all of the cluster. */
  readonly only?: string;
  /** A volume can serve no more: it was fenced, for instance. */
  readonly onFatal?: (name: string, error: RawstorError) => void;
  /** A volume has another size: clients that are connected do not know. */
  readonly onResized?: (name: string) => void;
}

/** Another holder that was killed leaves its lease for about two seconds. */
const BUSY_RETRY_MS = 250;
const BUSY_PATIENCE_MS = 4000;
const CALL_TIMEOUT_MS = 10_000;

/** Every volume of a cluster as an NBD export by its name, and every snapshot, to be read, as VOLUME@SNAPSHOT. */
export class VolumeExports implements ExportSource {
  private readonly options: VolumeExportsOptions;
  /** What each device is that was opened here; without those that can serve no more. */
  private readonly identities = new WeakMap<BlockDevice, string>();

  constructor(options: VolumeExportsOptions) {
    this.options = options;
  }

  async list(): Promise<readonly ExportName[]> {
    const { cluster, only } = this.options;
    if (only !== undefined) {
      const { name, sizeBytes } = await this.find(only);
      return [{ name, description: formatSizeBytes(sizeBytes) }];
    }
    const volumes = await allVolumes(cluster, CALL_TIMEOUT_MS);
    return volumes.flatMap((volume) => [
      { name: volume.name, description: formatSizeBytes(volume.sizeBytes) },
      ...namedSnapshots(volume).map((snapshot) => ({
        name: `${volume.name}@${snapshot.name}`,
        description: `${formatSizeBytes(snapshot.sizeBytes)}, ${new Date(snapshot.createdWallMs).toISOString()}`,
        named: true,
      })),
    ]);
  }

  async describe(name: string): Promise<ExportFacts> {
    const { sizeBytes, snapshot, marks } = await this.find(name);
    return {
      name,
      description: formatSizeBytes(sizeBytes),
      sizeBytes,
      readOnly: snapshot !== null,
      multiConnection: true,
      blockSizeMinBytes: LIMITS.sectorBytes,
      blockSizePreferredBytes: LIMITS.blockBytes,
      marks,
    };
  }

  async open(name: string): Promise<BlockDevice> {
    const { cluster } = this.options;
    const { id, snapshot } = await this.find(name);
    if (snapshot === null) return await this.openHead(name, id);
    const reader = await cluster.openSnapshot(id, snapshot);
    this.identities.set(reader, identityOf(id, reader.version));
    reader.onFatal = (error) => this.failed(name, reader, error);
    return reader;
  }

  /** @throws RawstorError UNAVAILABLE, TIMEOUT while the metadata server is away, of what may have been renamed */
  async isStill(name: string, device: BlockDevice): Promise<boolean> {
    const identity = this.identities.get(device);
    if (identity === undefined) return false;
    // A volume keeps its name as long as it is open for writing. Guests come back to it while the metadata server is away.
    if (device instanceof MovableVolume && device.holds && device.object.name === name) return true;
    try {
      return (await this.find(name)).identity === identity;
    } catch (error) {
      if (error instanceof RawstorError && error.code === 'NOT_FOUND') return false;
      throw error;
    }
  }

  /** What has that name now, in the same terms as below. @throws RawstorError NOT_FOUND, UNAVAILABLE */
  async identify(name: string): Promise<string> {
    return (await this.find(name)).identity;
  }

  /** Of a device that was opened here: no other volume or snapshot has it; null when it can serve no more. */
  identityOf(device: BlockDevice): string | null {
    return this.identities.get(device) ?? null;
  }

  private async openHead(name: string, id: string): Promise<BlockDevice> {
    const { cluster, clock, holder, standby, tellsStops, after } = this.options;
    const how = { holder: holder(), standby, tellsStops, ...(after === undefined ? {} : { after }) };
    const giveUpMs = clock.nowMs() + BUSY_PATIENCE_MS;
    for (;;) {
      try {
        const volume = await cluster.openMovable(id, how);
        this.identities.set(volume, id);
        volume.onFatal = (error) => this.failed(name, volume, error);
        volume.onResized = () => this.options.onResized?.(name);
        return volume;
      } catch (error) {
        const busy = error instanceof RawstorError && error.code === 'BUSY';
        if (!busy || clock.nowMs() > giveUpMs) throw error;
        await clock.sleep(BUSY_RETRY_MS);
      }
    }
  }

  private failed(name: string, device: BlockDevice, error: RawstorError): void {
    this.identities.delete(device);
    this.options.onFatal?.(name, error);
  }

  /** Only by its name: the same volume under two names would be opened twice, and the second fences the first. */
  private async find(name: string): Promise<Found> {
    const { cluster, only } = this.options;
    if (only !== undefined && only !== name) {
      throw new RawstorError('NOT_FOUND', `there is no export '${name}' here, only '${only}'`);
    }
    const ref = splitSnapshotRef(name);
    const asked = ref === null ? [name] : [ref.volume, ref.snapshot];
    if (!asked.every((part) => nameSchema.safeParse(part).success)) {
      throw new RawstorError('NOT_FOUND', 'there is no export of that name');
    }
    const volume = await volumeInfo(cluster, ref?.volume ?? name, CALL_TIMEOUT_MS);
    const found = foundOf(volume, ref?.snapshot ?? null);
    if (found.name === name) return found;
    throw new RawstorError('NOT_FOUND', `there is no export '${name}'`, {
      hint: `exports are known by name: '${found.name}'`,
    });
  }
}

interface Found {
  readonly id: string;
  readonly identity: string;
  readonly name: string;
  readonly sizeBytes: number;
  readonly snapshot: string | null;
  readonly marks: readonly Mark[];
}

function foundOf(volume: ObjectInfo, snapshot: string | null): Found {
  const { id, name, sizeBytes } = volume;
  if (snapshot === null)
    return { id, identity: id, name, sizeBytes, snapshot, marks: marksOf(volume, 'head') };
  const { sizeBytes: then, version } = namedSnapshot(volume, snapshot);
  const marks = marksOf(volume, version);
  const identity = identityOf(id, version);
  return { id, identity, name: `${name}@${snapshot}`, sizeBytes: then, snapshot, marks };
}

function identityOf(id: string, version: number): string {
  return `${id}@${version}`;
}
