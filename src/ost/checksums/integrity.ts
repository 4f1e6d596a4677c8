import { LIMITS } from '../../common/limits.js';
import { EVENT_DAMAGED } from '../../protocol/index.js';
import type { ChunkFile } from '../chunk-file.js';
import type { OstCore } from '../core.js';
import type { OstObject } from '../object.js';
import type { OstTuning } from '../tuning.js';
import { Checksums } from './checksums.js';
import type { Damage, DamageOwner } from './damage.js';
import { ScrubRunner } from './scrub-runner.js';
import { SumKeeper } from './sum-keeper.js';

/** Everything of checksums in one OST: kept and verified on the data path, taken and scrubbed behind. */
export class Integrity implements DamageOwner {
  readonly checksums: Checksums;
  private readonly damage: Damage;
  readonly scrubs: ScrubRunner;
  private readonly keeper: SumKeeper;

  constructor(core: OstCore, tuning: OstTuning) {
    this.damage = core.damage;
    this.damage.owner = this;
    this.checksums = new Checksums(
      core.env,
      core.records,
      core.regions,
      this.damage,
      tuning.sumCacheRegions,
      (objectId) => this.keeper.givenUp(objectId),
    );
    this.keeper = new SumKeeper(core, this.checksums, tuning);
    this.scrubs = new ScrubRunner(core, this.checksums, tuning);
  }

  /** Begins the work in the background. */
  start(): void {
    this.keeper.start();
    this.scrubs.start();
  }

  async close(): Promise<void> {
    await Promise.all([this.keeper.close(), this.scrubs.close()]);
  }

  /** Regions of the object are at rest that were not before. */
  sealed(object: OstObject): void {
    this.keeper.look(object.record.id);
  }

  /** The object has a writer again. */
  attached(object: OstObject): void {
    if (this.damage.list(object.record.id, 1).length > 0) this.tell(object);
  }

  damageFound(chunk: ChunkFile): void {
    this.tell(chunk.object);
  }

  damageRepaired(chunk: ChunkFile, offset: number): void {
    this.keeper.soon(chunk, Math.floor(offset / LIMITS.regionSizeBytes));
  }

  private tell({ writer, record }: OstObject): void {
    writer?.holder.notify?.(EVENT_DAMAGED, { objectId: record.id });
  }
}
