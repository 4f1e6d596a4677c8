import type { BlockDevice } from '../../block/index.js';
import type { Cluster } from '../../client/index.js';
import type { Clock } from '../../common/clock.js';
import { RawstorError } from '../../common/errors.js';
import { LIMITS } from '../../common/limits.js';
import { formatSizeBytes } from '../../common/units.js';
import type { ExportFacts, ExportName, ExportSource } from '../../nbd-server/index.js';
import type { ObjectInfo } from '../../protocol/index.js';
import { allVolumes, volumeInfo } from '../volumes.js';

export interface VolumeExportsOptions {
  readonly cluster: Cluster;
  readonly clock: Clock;
  /** Whom the metadata server knows as the user of the volumes. */
  readonly holder: () => string;
  /** Only this volume; default: all of the cluster. */
  readonly only?: string;
  /** A volume can serve no more: it was fenced, for instance. */
  readonly onFatal?: (name: string, error: RawstorError) => void;
}

/** Another holder that was killed leaves its lease for about two seconds. */
const BUSY_RETRY_MS = 250;
const BUSY_PATIENCE_MS = 4000;
const CALL_TIMEOUT_MS = 10_000;

/** Every volume of a cluster as an NBD export by its name. */
export class VolumeExports implements ExportSource {
  private readonly options: VolumeExportsOptions;

  constructor(options: VolumeExportsOptions) {
    this.options = options;
  }

  async list(): Promise<readonly ExportName[]> {
    const { cluster, only } = this.options;
    const volumes =
      only === undefined
        ? await allVolumes(cluster, CALL_TIMEOUT_MS)
        : [await volumeInfo(cluster, only, CALL_TIMEOUT_MS)];
    return volumes.map((volume) => ({ name: volume.name, description: formatSizeBytes(volume.sizeBytes) }));
  }

  async describe(name: string): Promise<ExportFacts> {
    const volume = await this.find(name);
    return {
      name,
      description: formatSizeBytes(volume.sizeBytes),
      sizeBytes: volume.sizeBytes,
      readOnly: false,
      multiConnection: true,
      blockSizeMinBytes: LIMITS.sectorBytes,
      blockSizePreferredBytes: LIMITS.blockBytes,
    };
  }

  async open(name: string): Promise<BlockDevice> {
    const { cluster, clock, holder } = this.options;
    const { id } = await this.find(name);
    const giveUpMs = clock.nowMs() + BUSY_PATIENCE_MS;
    for (;;) {
      try {
        const volume = await cluster.openVolume(id, { mode: 'write', holder: holder() });
        volume.onFatal = (error) => this.options.onFatal?.(name, error);
        return volume;
      } catch (error) {
        const busy = error instanceof RawstorError && error.code === 'BUSY';
        if (!busy || clock.nowMs() > giveUpMs) throw error;
        await clock.sleep(BUSY_RETRY_MS);
      }
    }
  }

  /** Only by its name: the same volume under two names would be opened twice, and the second fences the first. */
  private async find(name: string): Promise<ObjectInfo> {
    const { cluster, only } = this.options;
    if (only !== undefined && only !== name) {
      throw new RawstorError('NOT_FOUND', `there is no export '${name}' here, only '${only}'`);
    }
    const volume = await volumeInfo(cluster, name, CALL_TIMEOUT_MS);
    if (volume.name === name) return volume;
    throw new RawstorError('NOT_FOUND', `there is no export '${name}'`, {
      hint: `exports are known by name: '${volume.name}'`,
    });
  }
}
