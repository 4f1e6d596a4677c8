import type { IoFile } from '../../io/types.js';
import type { ChunkFile } from '../chunk-file.js';
import type { OstCore } from '../core.js';
import type { Checksums } from './checksums.js';
import { isInSync, type KnownRegion } from './object-regions.js';
import type { QuietAccess } from './quiet-access.js';
import { RegionChecker } from './region-checker.js';
import { RegionSummer, type SumOutcome, type Throttle } from './region-summer.js';

/** Regions, perhaps all holes, before others have their turn. */
const REGIONS_AT_ONCE = 64;

/** What became of a scrub so far. */
export interface ScrubCounts {
  checkedBytes: number;
  badBlocks: number;
  /** Regions that were written since the last seal, and of which there are no checksums therefore. */
  unsealedRegions: number;
}

/** Scrubs regions one after the other; `close` when done. */
export class ScrubPass {
  readonly counts: ScrubCounts = { checkedBytes: 0, badBlocks: 0, unsealedRegions: 0 };
  private readonly core: OstCore;
  private readonly checker: RegionChecker;
  private readonly summer: RegionSummer;
  private readonly throttle: Throttle;
  private regions = 0;
  /** The file that is read, beside the one of its chunk. */
  private direct: { readonly of: IoFile; readonly file: IoFile | null } | null = null;

  constructor(core: OstCore, checksums: Checksums, throttle: Throttle) {
    this.core = core;
    this.checker = new RegionChecker(core, checksums);
    this.summer = new RegionSummer(core, checksums);
    this.throttle = throttle;
  }

  /** Sealed regions that have no checksums yet get them on the way. */
  async region(access: QuietAccess, { chunk, version, region }: KnownRegion): Promise<void> {
    if (++this.regions % REGIONS_AT_ONCE === 0) await this.core.env.clock.sleep(1);
    await access.with(chunk, version, async (file) => {
      const { object } = access;
      let summed: SumOutcome | null = null;
      if (isInSync(this.core, object)) {
        // Checked all the same: of blocks that were not changed the sums were kept, without a look at the blocks.
        summed = await this.summer.sum(file, region, object.lastSeal, this.throttle);
      }
      const result = await this.checker.check(file, region, await this.source(file), this.throttle);
      if (result === null && summed === 'unreadable') this.counts.badBlocks += this.summer.unreadable;
      else if (result === null) this.counts.unsealedRegions++;
      else {
        this.counts.checkedBytes += result.checkedBytes;
        this.counts.badBlocks += result.bad;
      }
    });
  }

  async close(): Promise<void> {
    const { direct } = this;
    this.direct = null;
    await direct?.file?.close();
  }

  private async source(chunk: ChunkFile): Promise<IoFile | null> {
    const { file: of } = chunk;
    if (of === null) return null;
    if (this.direct?.of !== of) {
      await this.close();
      const name = { chunk: chunk.chunk, version: chunk.version };
      const file = (await this.core.storage.openDirect?.(chunk.object.record.id, name)) ?? null;
      this.direct = { of, file };
      // Another one has its name by now, or is about to.
      if (chunk.file !== of) await this.close();
    }
    return this.direct?.file ?? chunk.file;
  }
}
