import { LIMITS } from '../../common/limits.js';
import type { ChunkFile } from '../chunk-file.js';
import type { OstCore } from '../core.js';
import type { Session } from '../session.js';
import { changeLock } from './change-lock.js';
import { ITSELF, NOBODY } from './layer-maps.js';

const REGION_BYTES = LIMITS.regionSizeBytes;

/**
 * Copies blocks that a version shows of others into its own file, region by region, with changes of the region held
 * back. What the version reads as stays the same all the time, so that being cut short does no harm.
 */
export class BlockMover {
  private readonly core: OstCore;

  constructor(core: OstCore) {
    this.core = core;
  }

  /**
   * Every block in the range that is now of a version which `of` picks. The region's epoch becomes at least `tag` where
   * something is copied. @returns bytes copied @throws RawstorError
   */
  async moveUp(
    into: ChunkFile,
    session: Session,
    range: { offset: number; length: number },
    tag: number,
    of: (owner: ChunkFile) => boolean,
  ): Promise<number> {
    let copiedBytes = 0;
    const end = range.offset + range.length;
    for (let at = range.offset; at < end; ) {
      const region = Math.floor(at / REGION_BYTES);
      const until = Math.min(end, (region + 1) * REGION_BYTES);
      copiedBytes += await changeLock(into).with(region, () =>
        this.moveInRegion(into, session, at, until - at, tag, of),
      );
      at = until;
    }
    return copiedBytes;
  }

  private async moveInRegion(
    into: ChunkFile,
    session: Session,
    offset: number,
    length: number,
    tag: number,
    of: (owner: ChunkFile) => boolean,
  ): Promise<number> {
    const { maps } = this.core.layers;
    const runs: { offset: number; length: number }[] = [];
    maps.forEachRun(into, offset, length, (owner, from, size) => {
      if (owner === NOBODY || owner === ITSELF || !of(maps.file(into, owner))) return;
      for (let done = 0; done < size; done += LIMITS.framePayloadBytes) {
        runs.push({ offset: from + done, length: Math.min(size - done, LIMITS.framePayloadBytes) });
      }
    });
    let copiedBytes = 0;
    for (const run of runs) {
      await this.core.layers.copyPiece(session, [into, into], { ...run, tag });
      copiedBytes += run.length;
    }
    return copiedBytes;
  }
}
