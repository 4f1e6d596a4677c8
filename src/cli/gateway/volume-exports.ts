import type { BlockDevice } from '../../block/index.js';
import type { Cluster } from '../../client/index.js';
import type { Clock } from '../../common/clock.js';
import { RawstorError } from '../../common/errors.js';
import { LIMITS } from '../../common/limits.js';
import { formatSizeBytes } from '../../common/units.js';
import type { ExportFacts, ExportName, ExportSource } from '../../nbd-server/index.js';
import { allVolumes, volumeInfo } from '../volumes.js';

export interface VolumeExportsOptions {
  readonly cluster: Cluster;
  readonly clock: Clock;
  readonly holder: string;
  readonly readOnly: boolean;
  /** Only this volume; default: all of the cluster. */
  readonly only?: string;
}

/** A gateway that was killed leaves its lease for about two seconds. */
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
    this.check(name);
    const { cluster, readOnly } = this.options;
    const volume = await volumeInfo(cluster, name, CALL_TIMEOUT_MS);
    return {
      name,
      description: formatSizeBytes(volume.sizeBytes),
      sizeBytes: volume.sizeBytes,
      readOnly,
      multiConnection: true,
      blockSizeMinBytes: LIMITS.sectorBytes,
      blockSizePreferredBytes: LIMITS.blockBytes,
    };
  }

  async open(name: string): Promise<BlockDevice> {
    this.check(name);
    const { cluster, clock, holder, readOnly } = this.options;
    const giveUpMs = clock.nowMs() + BUSY_PATIENCE_MS;
    for (;;) {
      try {
        return await cluster.openVolume(name, { mode: readOnly ? 'read' : 'write', holder });
      } catch (error) {
        const busy = error instanceof RawstorError && error.code === 'BUSY';
        if (!busy || clock.nowMs() > giveUpMs) throw error;
        await clock.sleep(BUSY_RETRY_MS);
      }
    }
  }

  private check(name: string): void {
    const { only } = this.options;
    if (only === undefined || only === name) return;
    throw new RawstorError('NOT_FOUND', `there is no export '${name}' here, only '${only}'`);
  }
}
