import { KiB } from '../../common/units.js';
import { crc32c } from '../../io/index.js';
import type { PoolBuffer } from '../../io/pool.js';
import type { IoFile } from '../../io/types.js';
import type { ChunkFile } from '../chunk-file.js';
import type { OstCore } from '../core.js';
import { REGIONS_PER_PAGE } from '../record-codec.js';
import type { Checksums } from './checksums.js';
import { canReadInto, takeBuffer } from './quiet-access.js';
import type { Throttle } from './region-summer.js';
import { BLOCKS_PER_REGION, SUM_BLOCK_BYTES, ZERO_BLOCK_SUM } from './sum-record.js';

const PIECE_BYTES = 256 * KiB;
const PIECE_BLOCKS = PIECE_BYTES / SUM_BLOCK_BYTES;

/** Reads the blocks of a region that have a checksum from the disk and reports those that are not right. */
export class RegionChecker {
  private readonly core: OstCore;
  private readonly checksums: Checksums;
  private readonly expected = new Uint32Array(BLOCKS_PER_REGION);

  constructor(core: OstCore, checksums: Checksums) {
    this.core = core;
    this.checksums = checksums;
  }

  /**
   * `source` is the file that the chunk has now, opened past the page cache where that is possible; null where there is none. Answers
   * the bytes that were checked and how many blocks are bad; null when the region has no checksums.
   */
  async check(
    chunk: ChunkFile,
    region: number,
    source: IoFile | null,
    throttle: Throttle,
  ): Promise<{ checkedBytes: number; bad: number } | null> {
    const { expected } = this;
    const sums = this.checksums.page(chunk, region).sums!;
    const slot = region % REGIONS_PER_PAGE;
    const known = sums.holds(slot) ? sums.sums(slot) : null;
    if (known === null) return null;
    expected.set(known);
    const { file } = chunk;
    const first = region * BLOCKS_PER_REGION;
    const blocks = Math.min(BLOCKS_PER_REGION, chunk.sizeBytes / SUM_BLOCK_BYTES);
    const found = { checkedBytes: 0, bad: 0 };
    const buffer = await takeBuffer(this.core, PIECE_BYTES);
    try {
      for (let block = 0; block < blocks; block += PIECE_BLOCKS) {
        const end = Math.min(blocks, block + PIECE_BLOCKS);
        if (!this.hasContent(source, first, block, end)) continue;
        const length = (end - block) * SUM_BLOCK_BYTES;
        await throttle(length);
        const whole = await this.read(source, first + block, buffer, length);
        for (let i = block; i < end; i++) {
          const at = buffer.offset + (i - block) * SUM_BLOCK_BYTES;
          if (whole && crc32c(buffer.memory, at, SUM_BLOCK_BYTES) === expected[i]) {
            this.clear(chunk, first + i, expected[i]!);
          } else if (await this.isBad(chunk, file, source, first + i)) found.bad++;
        }
        found.checkedBytes += length;
      }
    } finally {
      buffer.release();
    }
    return found;
  }

  /** It is what its checksum says, which still holds. */
  private clear(chunk: ChunkFile, block: number, sum: number): void {
    const { damage } = this.checksums;
    if (damage.count > 0 && this.checksums.expected(chunk, block) === sum) damage.cleared(chunk, block);
  }

  /** Holes that should be holes need not be read. */
  private hasContent(source: IoFile | null, first: number, block: number, end: number): boolean {
    for (let i = block; i < end; i++) if (this.expected[i] !== ZERO_BLOCK_SUM) return true;
    if (source === null) return false;
    const from = (first + block) * SUM_BLOCK_BYTES;
    return source.seekData(from) < Math.min((first + end) * SUM_BLOCK_BYTES, source.sizeBytes());
  }

  /** Once more by itself, and only where nobody has begun to change it, nor has the chunk got another file. */
  private async isBad(
    chunk: ChunkFile,
    file: IoFile | null,
    source: IoFile | null,
    block: number,
  ): Promise<boolean> {
    const buffer = await takeBuffer(this.core, SUM_BLOCK_BYTES);
    try {
      const { damage } = this.checksums;
      const readable = await this.read(source, block, buffer, SUM_BLOCK_BYTES);
      const sum = crc32c(buffer.memory, buffer.offset, SUM_BLOCK_BYTES);
      const expected = this.checksums.expected(chunk, block);
      if (chunk.file !== file) return false;
      if (!readable) {
        // Readers may find it in the page cache all the same.
        const retryMs = source === file ? undefined : 0;
        damage.cannotRead(chunk, block, expected < 0 ? null : expected, retryMs);
        return true;
      }
      damage.canRead(chunk, block);
      if (expected < 0 || sum === expected) return false;
      damage.found(chunk, block, expected);
      return true;
    } finally {
      buffer.release();
    }
  }

  private async read(
    source: IoFile | null,
    block: number,
    buffer: PoolBuffer,
    length: number,
  ): Promise<boolean> {
    if (source === null) {
      buffer.memory.bytes.fill(0, buffer.offset, buffer.offset + length);
      return true;
    }
    return await canReadInto(source, block * SUM_BLOCK_BYTES, buffer, length);
  }
}
