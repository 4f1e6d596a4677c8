import { moveReserveBytes } from '../common/move-reserve.js';
import { MiB } from '../common/units.js';
import { mayTakeReserve } from '../protocol/index.js';
import type { ChunkFile } from './chunk-file.js';
import type { ChunkStorage, SpaceFigures } from './storage.js';

/**
 * Refuses writes that would take the last of the disk: the records need room to say what happened, and a file
 * system that is full to the last block fails in worse places. Writes over blocks that are already there pass, and journals
 * of the catalog may take half of the reserve: without them nothing could be removed from a full cluster.
 *
 * What is left is estimated downwards by every byte written. It is looked up again when the estimate runs out, and
 * before so much is written that what others put on the disk meanwhile (records, an MDS) could take the reserve.
 */
export class SpaceGuard {
  private readonly storage: ChunkStorage;
  private readonly capacityLimitBytes: number | null;
  private readonly reserveBytes: number;
  private readonly moveReserveBytes: number;
  /** So much may be written unseen. */
  private readonly lookUpBytes: number;
  /** Allowed, and maybe not on the disk yet. */
  private onTheWayBytes = 0;
  private leftBytes = 0;
  /** Allowed since it was looked up. */
  private unseenBytes = 0;
  /** Occupied by all chunks, kept only for an artificial limit. */
  private occupiedBytes = 0;
  private readonly grown = new Set<ChunkFile>();

  constructor(storage: ChunkStorage, capacityLimitBytes: number | null, reserveBytes: number | null) {
    this.storage = storage;
    this.capacityLimitBytes = capacityLimitBytes;
    this.reserveBytes = reserveBytes ?? defaultReserveBytes(storage.space().capacityBytes);
    this.lookUpBytes = Math.max(MiB, this.reserveBytes / 4);
    const { capacityBytes } = storage.space();
    this.moveReserveBytes = moveReserveBytes(Math.min(capacityBytes, capacityLimitBytes ?? capacityBytes));
  }

  async open(): Promise<void> {
    if (this.capacityLimitBytes !== null) {
      for (const id of await this.storage.objects()) {
        this.occupiedBytes += (await this.storage.usage(id)).allocatedBytes;
      }
    }
    this.refresh();
  }

  /** What this OST has and has left, for placement. */
  figures(): SpaceFigures {
    this.refresh();
    const disk = this.storage.space();
    const capacityBytes = Math.max(0, disk.capacityBytes - this.reserveBytes);
    return {
      capacityBytes: Math.min(capacityBytes, this.capacityLimitBytes ?? capacityBytes),
      freeBytes: Math.max(0, this.leftBytes),
    };
  }

  /** Where it does, `settled` is to follow. `leavesRoom`: a copy to a new member, which is not to take the last of it. */
  allows(chunk: ChunkFile, offset: number, length: number, leavesRoom = false): boolean {
    if (this.capacityLimitBytes !== null) this.grown.add(chunk);
    const reserveBytes = mayTakeReserve(chunk.object.record) ? Math.floor(this.reserveBytes / 2) : 0;
    const neededBytes = length + (leavesRoom ? this.moveReserveBytes : 0);
    const lacks = () => this.leftBytes + reserveBytes < neededBytes;
    if (lacks() || this.unseenBytes >= this.lookUpBytes) this.refresh();
    if (lacks()) {
      if (!isAllocated(chunk, offset, length)) return false;
    } else {
      this.leftBytes -= length;
      this.unseenBytes += length;
    }
    this.onTheWayBytes += length;
    return true;
  }

  /** A write that was allowed has ended. */
  settled(length: number): void {
    this.onTheWayBytes -= length;
  }

  opened(chunk: ChunkFile): void {
    if (this.capacityLimitBytes !== null && chunk.file !== null) {
      chunk.allocatedBytes = chunk.file.allocatedBytes();
    }
  }

  /** Before its descriptor goes. */
  closing(chunk: ChunkFile): void {
    if (this.grown.delete(chunk)) this.account(chunk);
  }

  /** Files that take so much are gone. */
  freed(bytes: number): void {
    this.occupiedBytes = Math.max(0, this.occupiedBytes - bytes);
    this.refresh();
  }

  refresh(): void {
    this.unseenBytes = 0;
    this.leftBytes = this.storage.space().freeBytes - this.reserveBytes - this.onTheWayBytes;
    if (this.capacityLimitBytes === null) return;
    for (const chunk of this.grown) this.account(chunk);
    this.grown.clear();
    this.leftBytes = Math.min(this.leftBytes, this.capacityLimitBytes - this.occupiedBytes);
  }

  private account(chunk: ChunkFile): void {
    if (chunk.file === null) return;
    const now = chunk.file.allocatedBytes();
    this.occupiedBytes += now - chunk.allocatedBytes;
    chunk.allocatedBytes = now;
  }
}

/** A hundredth of the disk; at least what some commits of the records take, at most what it never needs more of. */
function defaultReserveBytes(capacityBytes: number): number {
  return Math.min(64 * MiB, Math.max(4 * MiB, Math.floor(capacityBytes / 100)));
}

function isAllocated(chunk: ChunkFile, offset: number, length: number): boolean {
  const { file } = chunk;
  if (file === null || file.sizeBytes() < offset + length) return false;
  return file.seekData(offset) === offset && file.seekHole(offset) >= offset + length;
}
