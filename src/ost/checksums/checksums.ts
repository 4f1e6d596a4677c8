import { LIMITS } from '../../common/limits.js';
import { crc32c, crc32cAgrees } from '../../io/index.js';
import type { SliceList } from '../../io/memory.js';
import type { ChunkFile } from '../chunk-file.js';
import type { OstEnvironment } from '../environment.js';
import { REGIONS_PER_PAGE } from '../record-codec.js';
import type { Records } from '../records.js';
import type { RegionMirror, RegionPage } from '../regions.js';
import type { Damage } from './damage.js';
import { PageSums } from './page-sums.js';
import type { ReadRange, RecheckOwner } from './recheck.js';
import { Rereads } from './rereads.js';
import { SumCache } from './sum-cache.js';
import { SUM_BLOCK_BYTES } from './sum-record.js';

const REGION_BYTES = LIMITS.regionSizeBytes;
const BLOCKS_PER_REGION = REGION_BYTES / SUM_BLOCK_BYTES;

/**
 * Checksums of stored blocks on the data path: remembers what is changed, and judges what is read. Nothing is
 * allocated for a read that is whole blocks and right.
 */
export class Checksums {
  readonly damage: Damage;
  private readonly records: Records;
  private readonly cache: SumCache;
  private readonly mirror: RegionMirror;
  private readonly rereads: Rereads;
  /** Blocks of the chunk that the last `check` could not find right. */
  private readonly suspects: number[] = [];

  constructor(
    env: OstEnvironment,
    records: Records,
    mirror: RegionMirror,
    damage: Damage,
    cacheRegions: number,
    onGivenUp: (objectId: string) => void,
  ) {
    this.rereads = new Rereads(env.io, this);
    this.records = records;
    this.mirror = mirror;
    this.damage = damage;
    this.cache = new SumCache(cacheRegions);
    const onDropped = ({ chunk }: RegionPage) => onGivenUp(chunk.object.record.id);
    mirror.sumsOf = (page) => new PageSums(page, this.records, this.cache, onDropped);
  }

  /** Before the file is told. The pages stay in memory until `endChange`. */
  beginChange(chunk: ChunkFile, offset: number, length: number): void {
    const lastByte = offset + length - 1;
    const last = Math.floor(lastByte / REGION_BYTES);
    for (let region = Math.floor(offset / REGION_BYTES); region <= last; region++) {
      const page = this.mirror.page(chunk, region);
      const slot = region % REGIONS_PER_PAGE;
      const start = region * REGION_BYTES;
      const first = Math.floor(Math.max(0, offset - start) / SUM_BLOCK_BYTES);
      const end = Math.floor(Math.min(REGION_BYTES - 1, lastByte - start) / SUM_BLOCK_BYTES);
      page.pins++;
      page.sums!.changing[slot]!++;
      page.sums!.touch(slot, first, end);
    }
  }

  /** The file has answered; `changed` is false where it was not told anything. */
  endChange(chunk: ChunkFile, offset: number, length: number, changed = true): void {
    const last = Math.floor((offset + length - 1) / REGION_BYTES);
    for (let region = Math.floor(offset / REGION_BYTES); region <= last; region++) {
      const page = this.mirror.page(chunk, region);
      const slot = region % REGIONS_PER_PAGE;
      page.pins--;
      page.sums!.changing[slot]!--;
      if (changed) page.sums!.changedAtSync[slot] = chunk.sync.started + 1;
    }
  }

  /**
   * The chunk is about to have another file, or none: what is known of the one that it has is gone when this resolves, in memory
   * and on record, and nothing is taken anew before `endReplacing`. Changes have to be kept out. @throws RawstorError
   */
  async beginReplacing(chunk: ChunkFile): Promise<void> {
    const { object, version, sizeBytes } = chunk;
    this.beginChange(chunk, 0, sizeBytes);
    try {
      await this.records.versions.removeSums(object.key, chunk.chunk, version);
    } catch (error) {
      this.endReplacing(chunk, false);
      throw error;
    }
    for (const page of chunk.pages) page?.sums?.forgetAll();
  }

  endReplacing(chunk: ChunkFile, replaced: boolean): void {
    this.endChange(chunk, 0, chunk.sizeBytes, replaced);
  }

  /** Of a block that is known to be bad: its checksum says nothing from now on. */
  distrust(chunk: ChunkFile, block: number): void {
    const region = Math.floor(block / BLOCKS_PER_REGION);
    const inRegion = block % BLOCKS_PER_REGION;
    this.mirror.page(chunk, region).sums!.touch(region % REGIONS_PER_PAGE, inRegion, inRegion);
  }

  /**
   * Judges what a read of the file has brought into `op.slices`: true when all that has a checksum is right, and nothing
   * is known to be bad.
   * Otherwise `recheck` has to look. To be called when the read has ended: a block that no change has begun on by
   * now was not being changed while it was read.
   */
  check(chunk: ChunkFile, op: ReadRange): boolean {
    const { offset, length, slices } = op;
    const end = offset + length;
    // Setting it is slow.
    if (this.suspects.length > 0) this.suspects.length = 0;
    for (let at = offset; at < end; ) {
      const region = Math.floor(at / REGION_BYTES);
      const until = Math.min(end, (region + 1) * REGION_BYTES);
      const sums = this.mirror.page(chunk, region).sums!;
      const slot = region % REGIONS_PER_PAGE;
      if (sums.holds(slot)) this.checkRegion(sums, slot, region, at, until, offset, slices);
      at = until;
    }
    if (this.damage.count > 0) this.damage.addIn(chunk, offset, length, this.suspects);
    return this.suspects.length === 0;
  }

  /** Reads what `check` could not find right privately. Answers through the owner, never from within. */
  recheck(chunk: ChunkFile, op: ReadRange, owner: RecheckOwner): void {
    this.rereads.blocks(chunk, op, this.suspects, owner);
  }

  /** The sum that a block of the chunk should have, or -1 when that is not known now. */
  expected(chunk: ChunkFile, block: number): number {
    const region = Math.floor(block / BLOCKS_PER_REGION);
    const sums = this.mirror.page(chunk, region).sums!;
    const slot = region % REGIONS_PER_PAGE;
    const inRegion = block % BLOCKS_PER_REGION;
    if (!sums.holds(slot) || sums.isTouched(slot, inRegion)) return -1;
    return sums.sums(slot)?.[inRegion] ?? -1;
  }

  page(chunk: ChunkFile, region: number): RegionPage {
    return this.mirror.page(chunk, region);
  }

  private checkRegion(
    sums: PageSums,
    slot: number,
    region: number,
    from: number,
    until: number,
    offset: number,
    slices: SliceList,
  ): void {
    const known = sums.sums(slot);
    if (known === null) return;
    const touched = sums.hasTouched(slot);
    const firstBlock = region * BLOCKS_PER_REGION;
    let block = Math.floor(from / SUM_BLOCK_BYTES);
    if (!touched && until - from > SUM_BLOCK_BYTES && slices.count === 1) {
      // Of many blocks that lie together most are right: compared in one call as far as that goes.
      const whole = from % SUM_BLOCK_BYTES === 0 ? Math.floor((until - from) / SUM_BLOCK_BYTES) : 0;
      const start = slices.offset[0]! + from - offset;
      block += crc32cAgrees(slices.memory[0]!, start, SUM_BLOCK_BYTES, whole, known, block - firstBlock);
    }
    for (let at = block * SUM_BLOCK_BYTES; at < until; at += SUM_BLOCK_BYTES, block++) {
      const inRegion = block - firstBlock;
      if (touched && sums.isTouched(slot, inRegion)) continue;
      // Of a block that is not read whole nothing can be said from these bytes.
      const whole = at >= from && at + SUM_BLOCK_BYTES <= until;
      if (!whole || sumOf(slices, at - offset) !== known[inRegion]) this.suspects.push(block);
    }
  }
}

/** CRC-32C of one block that begins `skip` bytes into the list. */
function sumOf(slices: SliceList, skip: number): number {
  if (slices.count === 1) return crc32c(slices.memory[0]!, slices.offset[0]! + skip, SUM_BLOCK_BYTES);
  let sum = 0;
  let left = SUM_BLOCK_BYTES;
  for (let i = 0; i < slices.count && left > 0; i++) {
    const size = slices.length[i]!;
    if (skip >= size) {
      skip -= size;
      continue;
    }
    const take = Math.min(size - skip, left);
    sum = crc32c(slices.memory[i]!, slices.offset[i]! + skip, take, sum);
    skip = 0;
    left -= take;
  }
  return sum;
}
