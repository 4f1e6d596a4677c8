import { LIMITS } from '../../common/limits.js';
import { KiB } from '../../common/units.js';
import { crc32c } from '../../io/index.js';
import type { PoolBuffer } from '../../io/pool.js';
import type { IoFile } from '../../io/types.js';
import type { ChunkFile } from '../chunk-file.js';
import type { OstCore } from '../core.js';
import { REGIONS_PER_PAGE } from '../record-codec.js';
import type { Checksums } from './checksums.js';
import type { PageSums } from './page-sums.js';
import { canReadInto, takeBuffer } from './quiet-access.js';
import { BLOCKS_PER_REGION, SUM_BLOCK_BYTES, sumsChange, ZERO_BLOCK_SUM } from './sum-record.js';

const PIECE_BYTES = 256 * KiB;
const PIECE_BLOCKS = PIECE_BYTES / SUM_BLOCK_BYTES;

/** Waits until so many bytes may be read. */
export type Throttle = (bytes: number) => Promise<void>;

/**
 * summed: the record is made. current: there was one. unsealed: newer than the seal, or never written. busy: it was
 * changed meanwhile, or is not durable; another time. unreadable: the disk does not give some of it: a sum of that would be a guess, so the
 * region has none until those blocks are written anew, or can be read.
 */
export type SumOutcome = 'summed' | 'current' | 'unsealed' | 'busy' | 'unreadable';

/**
 * Takes the checksums of a sealed region by reading it back: of the blocks changed since the last time where
 * those are known, which is as long as the process lives, else of all. The sums of the others stay what they were,
 * so that damage is not signed for right.
 */
export class RegionSummer {
  private readonly core: OstCore;
  private readonly checksums: Checksums;
  private readonly scratch = new Uint32Array(BLOCKS_PER_REGION);
  /** Blocks that the disk did not give, of the region that was summed last. */
  unreadable = 0;

  constructor(core: OstCore, checksums: Checksums) {
    this.core = core;
    this.checksums = checksums;
  }

  /** One region at a time. The chunk is held by the caller. @throws RawstorError IO, NO_SPACE */
  async sum(chunk: ChunkFile, region: number, seal: number, throttle: Throttle): Promise<SumOutcome> {
    const { core } = this;
    // After a failed sync the cache shows for a while what the disk does not have.
    await core.boot.settled();
    const page = this.checksums.page(chunk, region);
    const slot = region % REGIONS_PER_PAGE;
    const sums = page.sums!;
    const epoch = page.durable[slot]!;
    if (epoch === 0 || epoch > seal) return 'unsealed';
    if (sums.trustedOnDisk(slot)) return 'current';
    if (sums.changing[slot] !== 0 || sums.beingTaken[slot] !== 0 || chunk.handedOver) return 'busy';
    const changes = sums.changes[slot]!;
    const { generation } = core.bootId;
    page.pins++;
    sums.beingTaken[slot] = 1;
    this.unreadable = 0;
    try {
      await this.compute(chunk, region, sums, slot, throttle);
      if (this.unreadable > 0) return 'unreadable';
      if (!(await this.isDurable(chunk, sums, slot))) return 'busy';
      const same =
        sums.changing[slot] === 0 &&
        sums.changes[slot] === changes &&
        page.durable[slot] === epoch &&
        (page.wanted === null || page.wanted[slot] === epoch) &&
        core.bootId.generation === generation;
      if (!same) return 'busy';
      // From here on a change has the record removed, by a commit behind this one.
      sums.install(slot, epoch, this.scratch);
      try {
        await core.commit([sumsChange(sums.key(slot), epoch, this.scratch)]);
      } catch (error) {
        sums.notInstalled(slot);
        throw error;
      }
      return 'summed';
    } finally {
      sums.beingTaken[slot] = 0;
      page.pins--;
    }
  }

  private async compute(
    chunk: ChunkFile,
    region: number,
    sums: PageSums,
    slot: number,
    throttle: Throttle,
  ): Promise<void> {
    const { scratch } = this;
    const { damage } = this.checksums;
    const known = sums.holds(slot) ? sums.sums(slot) : null;
    if (known !== null) scratch.set(known);
    else scratch.fill(ZERO_BLOCK_SUM);
    const { file } = chunk;
    const wanted = (block: number) => known === null || sums.isTouched(slot, block);
    if (file === null) {
      scratch.fill(ZERO_BLOCK_SUM);
      return this.spoil(chunk, region, () => true);
    }
    const blocks = Math.min(BLOCKS_PER_REGION, chunk.sizeBytes / SUM_BLOCK_BYTES);
    const buffer = await takeBuffer(this.core, PIECE_BYTES);
    try {
      for (let block = 0; block < blocks; ) {
        if (!wanted(block)) {
          block++;
          continue;
        }
        let end = block + 1;
        while (end < blocks && end - block < PIECE_BLOCKS && wanted(end)) end++;
        const offset = (region * BLOCKS_PER_REGION + block) * SUM_BLOCK_BYTES;
        const length = (end - block) * SUM_BLOCK_BYTES;
        if (file.seekData(offset) >= Math.min(offset + length, file.sizeBytes())) {
          scratch.fill(ZERO_BLOCK_SUM, block, end);
        } else {
          await throttle(length);
          if (await canReadInto(file, offset, buffer, length)) {
            for (let i = block; i < end; i++) {
              const at = buffer.offset + (i - block) * SUM_BLOCK_BYTES;
              scratch[i] = crc32c(buffer.memory, at, SUM_BLOCK_BYTES);
              damage.canRead(chunk, region * BLOCKS_PER_REGION + i);
            }
          } else await this.findUnreadable(chunk, file, offset / SUM_BLOCK_BYTES, end - block, buffer);
        }
        block = end;
      }
    } finally {
      buffer.release();
    }
    this.spoil(chunk, region, wanted);
  }

  /** Which of some blocks it is that the disk does not give. */
  private async findUnreadable(
    chunk: ChunkFile,
    file: IoFile,
    first: number,
    count: number,
    buffer: PoolBuffer,
  ): Promise<void> {
    const { damage } = this.checksums;
    for (let block = first; block < first + count; block++) {
      const readable = await canReadInto(file, block * SUM_BLOCK_BYTES, buffer, SUM_BLOCK_BYTES);
      if (readable) damage.canRead(chunk, block);
      if (readable) continue;
      this.unreadable++;
      if (chunk.file === file) damage.cannotRead(chunk, block, null);
    }
  }

  /** Of blocks known to be bad, sums that are never right: what is there now must not be signed. */
  private spoil(chunk: ChunkFile, region: number, isNew: (block: number) => boolean): void {
    const { damage } = this.checksums;
    if (damage.count === 0) return;
    const bad: number[] = [];
    damage.addIn(chunk, region * LIMITS.regionSizeBytes, LIMITS.regionSizeBytes, bad);
    for (const block of bad) {
      const at = block - region * BLOCKS_PER_REGION;
      if (isNew(at)) this.scratch[at] = ~this.scratch[at]!;
    }
  }

  /** What was read is on the disk: else a power loss would leave something older under its sum. */
  private async isDurable(chunk: ChunkFile, sums: PageSums, slot: number): Promise<boolean> {
    if (!(await chunk.object.directory.synced())) return false;
    if (chunk.sync.durableThrough >= sums.changedAtSync[slot]!) return true;
    return (await chunk.sync.synced()) && chunk.sync.durableThrough >= sums.changedAtSync[slot]!;
  }
}
