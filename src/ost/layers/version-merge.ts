import { RawstorError } from '../../common/errors.js';
import { LIMITS } from '../../common/limits.js';
import { MiB } from '../../common/units.js';
import { errorOfStatus, Opcode } from '../../protocol/index.js';
import type { ChunkFile } from '../chunk-file.js';
import type { OstCore } from '../core.js';
import type { OstObject } from '../object.js';
import { REGIONS_PER_PAGE } from '../record-codec.js';
import type { Session } from '../session.js';
import { BlockMover } from './block-mover.js';
import { ALL_REGIONS, changeLock } from './change-lock.js';
import { forEachData } from './data-runs.js';
import { ITSELF, NOBODY } from './layer-maps.js';
import { BLOCKS_PER_REGION, hasBit, LAYER_BLOCK_BYTES, setBits } from './zero-bits.js';

const REGION_BYTES = LIMITS.regionSizeBytes;
/** What may be copied while changes of the chunk wait. */
const HELD_BYTES_MAX = 16 * MiB;

/**
 * Gives what a removed version has of a chunk to the version over it. Where that one has nothing, the file only changes its
 * name; where it has little, its blocks go into the file, which then takes its place; else the blocks that still show are copied up.
 * Cut short anywhere, every version reads as before.
 */
export class VersionMerge {
  private readonly core: OstCore;
  private readonly object: OstObject;
  private readonly from: ChunkFile;
  private readonly into: ChunkFile;
  private readonly session: Session;
  private readonly isGone: () => boolean;
  /** Of the OST when this began. */
  private generation = 0;

  /** `isGone`: the object is, and whoever removes it waits for this. */
  constructor(core: OstCore, object: OstObject, from: ChunkFile, into: ChunkFile, isGone: () => boolean) {
    this.core = core;
    this.object = object;
    this.from = from;
    this.into = into;
    this.session = core.layers.ownSession(object);
    this.isGone = isGone;
  }

  /** Afterwards `from` is needed no more. @throws RawstorError */
  async run(): Promise<void> {
    const { from, into } = this;
    // What a loss has taken hides nothing any more.
    await this.core.boot.settled();
    this.generation = this.core.bootId.generation;
    this.checkAdjacent();
    this.checkWhole();
    await this.durable(from);
    const mayTakeOver = () => from.file !== null && into.ready && this.ownBytes() <= HELD_BYTES_MAX;
    if (mayTakeOver() && this.ownBytes() < from.file!.allocatedBytes()) {
      const done = await changeLock(into).with(ALL_REGIONS, async () => {
        // A change that was let through before may be making the file.
        await this.core.chunks.ready(into);
        if (!mayTakeOver()) return false;
        // A copy may change it still.
        await changeLock(from).with(ALL_REGIONS, () => this.takeOver());
        return true;
      });
      if (done) return;
    }
    await this.copyUp();
    await this.durable(into);
    this.checkKept();
  }

  /**
   * A block that was taken for one of `into`, and not copied, may have been unflushed, and lost by a sync of somebody else. The next sync
   * succeeds all the same. @throws RawstorError IO
   */
  private checkKept(): void {
    if (this.core.bootId.generation !== this.generation) throw this.notDurable();
  }

  /** What lies between would be hidden. @throws RawstorError */
  private checkAdjacent(): void {
    for (let below = this.into.below; below !== this.from; below = below.below) {
      if (below === null || below.file !== null || below.recorded) {
        throw new RawstorError('INTERNAL', 'something lies between two versions to be merged', {
          where: this.into.where,
        });
      }
    }
  }

  /** @throws RawstorError NOT_FOUND */
  private checkWanted(): void {
    if (!this.isGone()) return;
    throw new RawstorError('NOT_FOUND', 'the object is going', { where: this.into.where });
  }

  /** What is lost would be taken for zeros, or for what lies below. @throws RawstorError CHECKSUM */
  private checkWhole(): void {
    const { core, from, object } = this;
    const badOffset = core.damage.firstIn(from, 0, object.record.chunkSizeBytes);
    if (badOffset < 0) return;
    throw new RawstorError('CHECKSUM', `it has a damaged block at ${badOffset}`, { where: from.where });
  }

  private ownBytes(): number {
    return this.into.file?.allocatedBytes() ?? 0;
  }

  /** The file of `from` becomes that of `into`. */
  private async takeOver(): Promise<void> {
    const { core, object, from, into } = this;
    for (const region of await this.raiseEpochs()) await this.mergeZeros(region);
    // It may have zeros without having a file.
    await this.copyDown();
    await this.durable(from);
    // Checksums of both are of the files that they have now.
    this.checkKept();
    const replacing: ChunkFile[] = [];
    let replaced = false;
    try {
      for (const one of [into, from]) {
        await core.checksums?.beginReplacing(one);
        replacing.push(one);
      }
      // Found meanwhile, perhaps: who has it next must not take it for right.
      this.checkWhole();
      const { chunk } = from;
      const [old, taken] = [from.version, into.version].map((version) => ({ chunk, version }));
      await core.storage.renameChunk(object.record.id, old!, taken!);
      object.directory.dirty = true;
      core.chunks.handOver(from, into);
      replaced = true;
    } finally {
      for (const one of replacing) core.checksums?.endReplacing(one, replaced && one === into);
    }
    if (!(await object.directory.synced())) throw this.notDurable();
  }

  /** Blocks and zeros that `into` has of its own, to where `from` has what they hide. */
  private async copyDown(): Promise<void> {
    const { from, into, core } = this;
    const runs: { offset: number; length: number }[] = [];
    const size = this.object.record.chunkSizeBytes;
    const addRuns = (offset: number, end: number) => {
      for (let at = offset; at < end; at += LIMITS.framePayloadBytes) {
        runs.push({ offset: at, length: Math.min(end - at, LIMITS.framePayloadBytes) });
      }
      return true;
    };
    if (into.file !== null) forEachData(into.file, 0, size, addRuns);
    for (const { offset, length } of runs) {
      this.checkWanted();
      const tag = Math.max(1, core.regions.highest(into, offset, length));
      await core.layers.copyPiece(this.session, [into, from], { offset, length, tag });
    }
    for (let region = 0; region * REGION_BYTES < size; region++) await this.eraseZeros(region);
  }

  private async eraseZeros(region: number): Promise<void> {
    const { core, into, from } = this;
    const bits = core.layers.zeros.bits(into, region);
    if (bits === null) return;
    const owners = core.layers.maps.owners(into, region);
    for (let block = 0; block < BLOCKS_PER_REGION; block++) {
      // Data wins over zeros of the same version.
      if (!hasBit(bits, block) || owners[block] !== NOBODY) continue;
      const offset = region * REGION_BYTES + block * LAYER_BLOCK_BYTES;
      const tag = Math.max(1, core.regions.highest(into, offset, LAYER_BLOCK_BYTES));
      const erase = { opcode: Opcode.ERASE, offset, length: LAYER_BLOCK_BYTES, tag };
      const status = await core.layers.nested(this.session, from, erase, null);
      if (status !== 0) throw errorOfStatus(status, from.where);
    }
  }

  private async copyUp(): Promise<void> {
    const { core, from, into } = this;
    const mover = new BlockMover(core);
    const { chunkSizeBytes } = this.object.record;
    for (const region of await this.raiseEpochs()) {
      this.checkWanted();
      const offset = region * REGION_BYTES;
      const length = Math.min(REGION_BYTES, chunkSizeBytes - offset);
      const tag = Math.max(1, core.regions.highest(into, offset, length));
      await mover.moveUp(into, this.session, { offset, length }, tag, (owner) => owner === from);
      await this.mergeZeros(region);
    }
  }

  /**
   * Whoever copies regions newer than something has to find them where their blocks are now.
   * @returns the regions that `from` was written in
   */
  private async raiseEpochs(): Promise<number[]> {
    const { core, object, from, into } = this;
    const regions: number[] = [];
    for (const { page, epochs } of core.records.versions.versionRegions(
      object.key,
      from.chunk,
      from.version,
    )) {
      for (let i = 0; i < epochs.length; i++) {
        if (epochs[i] === 0) continue;
        this.checkWanted();
        const region = page * REGIONS_PER_PAGE + i;
        const offset = region * REGION_BYTES;
        const length = Math.min(REGION_BYTES, object.record.chunkSizeBytes - offset);
        await core.intents.raise(into, offset, length, epochs[i]!);
        regions.push(region);
      }
    }
    return regions;
  }

  private async mergeZeros(region: number): Promise<void> {
    const { from, into } = this;
    const { zeros, maps } = this.core.layers;
    if (from.below === null) return;
    const known = zeros.bits(from, region);
    if (known === null) return;
    // Data wins over zeros of the same version, and not over those of one above it.
    const bits = Uint8Array.from(known);
    const owners = maps.owners(from, region);
    for (let block = 0; block < owners.length; block++) {
      if (owners[block] === ITSELF) setBits(bits, block, block + 1, false);
    }
    await zeros.add(into, region, bits);
  }

  private async durable(chunk: ChunkFile): Promise<void> {
    const synced = await Promise.all([
      chunk.file === null || chunk.sync.synced(),
      this.object.directory.synced(),
    ]);
    if (!synced.every((one) => one)) throw this.notDurable();
  }

  private notDurable(): RawstorError {
    return new RawstorError('IO', 'merged data could not be made durable', { where: this.into.where });
  }
}
