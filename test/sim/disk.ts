import type { World } from './world.js';

/** A page of the simulated kernel; small, because the simulation spends its time on these. */
export const BLOCK = 1024;
const SECTOR = 512;
/** Blocks of the least that a file system allocates. */
const UNIT_BLOCKS = 4;

/** One file: what the page cache has, what the disk has, and every content of a block since its last sync. */
export class FileData {
  readonly cached = new Map<number, Buffer>();
  readonly durable = new Map<number, Buffer>();
  /** Contents that blocks had since the last sync, oldest first; null for a hole. */
  readonly dirty = new Map<number, (Buffer | null)[]>();
  /** Blocks that the disk cannot read, until something else has been put there. */
  readonly unreadable = new Set<number>();
  sizeBytes = 0;
  durableSizeBytes = 0;
  /** The directory entry is on disk. */
  linked = false;

  change(block: number, content: Buffer | null): void {
    if (content === null) this.cached.delete(block);
    else this.cached.set(block, content);
    const versions = this.dirty.get(block);
    if (versions === undefined) this.dirty.set(block, [content]);
    else versions.push(content);
  }

  sync(): void {
    for (const block of this.dirty.keys()) this.persist(block, this.cached.get(block) ?? null);
    this.dirty.clear();
    this.durableSizeBytes = this.sizeBytes;
  }

  /** What a sync that begins now covers at least. */
  begun(): Map<number, { content: Buffer | null; versions: number }> {
    return new Map(
      [...this.dirty].map(([block, versions]) => [
        block,
        { content: versions.at(-1)!, versions: versions.length },
      ]),
    );
  }

  /** The sync is over, and what was written meanwhile is as dirty as before. */
  syncBegun(
    begun: ReadonlyMap<number, { content: Buffer | null; versions: number }>,
    sizeBytes: number,
  ): void {
    for (const [block, { content, versions }] of begun) {
      const now = this.dirty.get(block);
      // Forgotten or written back by another sync meanwhile.
      if (now === undefined || now.length < versions) continue;
      this.persist(block, content);
      now.splice(0, versions);
      if (now.length === 0) this.dirty.delete(block);
    }
    this.durableSizeBytes = Math.max(this.durableSizeBytes, sizeBytes);
  }

  /** Blocks written since the last sync in a unit of which the disk has nothing. */
  newIn(unit: number): number {
    let count = 0;
    for (let block = unit * UNIT_BLOCKS; block < (unit + 1) * UNIT_BLOCKS; block++) {
      if (this.durable.has(block)) return 0;
      if (this.dirty.has(block)) count++;
    }
    return count;
  }

  /** Whether the whole range can be read: what was written since is in the page cache. */
  canRead(offset: number, length: number): boolean {
    if (this.unreadable.size === 0) return true;
    for (let block = Math.floor(offset / BLOCK); block * BLOCK < offset + length; block++) {
      if (this.unreadable.has(block) && !this.dirty.has(block)) return false;
    }
    return true;
  }

  persist(block: number, content: Buffer | null): void {
    this.unreadable.delete(block);
    if (content === null) this.durable.delete(block);
    else this.durable.set(block, content);
  }

  forget(): void {
    this.cached.clear();
    for (const [block, content] of this.durable) this.cached.set(block, content);
    this.dirty.clear();
    this.sizeBytes = this.durableSizeBytes;
  }
}

/**
 * A disk with its kernel: outlives the processes on it. A power loss keeps, loses, tears by sector and reorders
 * what was not synced.
 */
export class SimDisk {
  readonly world: World;
  readonly name: string;
  kernelBootId: string;
  /** The file system, as it is mounted now. */
  mount = 'mount-1';
  failSyncs = 0;
  full = false;
  timesFull = 0;
  slowUntilMs = 0;
  losses = 0;
  failedSyncs = 0;
  private boots = 1;
  private mounts = 1;
  readonly files = new Map<string, FileData>();
  readonly records = new Map<string, Buffer>();
  lossNote = false;
  /** Never loses power, nor fails a sync. */
  steady = false;

  constructor(world: World, name: string) {
    this.world = world;
    this.name = name;
    this.kernelBootId = `${name}-boot-1`;
  }

  powerLoss(): void {
    if (this.steady) return;
    this.kernelBootId = `${this.name}-boot-${++this.boots}`;
    this.remount();
  }

  /** The file system has died, and is there again: as after a power loss, but for the kernel. */
  remount(): void {
    if (this.steady) return;
    const { world } = this;
    this.mount = `mount-${++this.mounts}`;
    this.lossNote = false;
    this.losses++;
    for (const [path, file] of this.files) {
      if (!file.linked && world.chance(0.5)) {
        this.files.delete(path);
        continue;
      }
      file.linked = true;
      this.keepSome(file, 1);
      if (world.chance(0.5)) file.durableSizeBytes = file.sizeBytes;
      for (const block of file.durable.keys()) {
        file.durableSizeBytes = Math.max(file.durableSizeBytes, (block + 1) * BLOCK);
      }
      file.forget();
    }
  }

  /** A sync that fails: of the dirty pages some are on disk, none is dirty any more, all are still in the cache. */
  failSync(file: FileData): void {
    this.losses++;
    this.failedSyncs++;
    this.keepSome(file, 0.5);
    file.dirty.clear();
  }

  /** All that is on it, as a copy of its files has it. @returns puts that back */
  copy(): () => void {
    const files = [...this.files].map(([path, { cached, sizeBytes }]) => ({
      path,
      cached: new Map(cached),
      sizeBytes,
    }));
    const records = new Map(this.records);
    return () => {
      this.losses++;
      this.files.clear();
      for (const { path, cached, sizeBytes } of files) {
        const file = new FileData();
        for (const [block, content] of cached) file.change(block, content);
        file.sizeBytes = sizeBytes;
        file.sync();
        file.linked = true;
        this.files.set(path, file);
      }
      this.records.clear();
      for (const [key, value] of records) this.records.set(key, value);
    };
  }

  delayMs(typicalMs: number): number {
    const { world } = this;
    const stall = world.nowMs < this.slowUntilMs ? world.between(0, this.slowUntilMs - world.nowMs) : 0;
    return stall + typicalMs * (0.3 + world.random.next() * 2);
  }

  /**
   * Of what was not synced some is on disk. Where there was a hole and several blocks were written, as when a version
   * gets a whole unit from the one below, all are or none is: a file system allocates no less, and not before the data is there.
   */
  private keepSome(file: FileData, chance: number): void {
    const { world } = this;
    const unitOf = (block: number) => Math.floor(block / UNIT_BLOCKS);
    const filled = new Map<number, boolean>();
    for (const block of file.dirty.keys()) {
      const unit = unitOf(block);
      if (!filled.has(unit) && file.newIn(unit) > 1) filled.set(unit, world.chance(chance / 2));
    }
    for (const [block, versions] of file.dirty) {
      const isFilled = filled.get(unitOf(block));
      if (isFilled !== undefined) {
        if (isFilled) file.persist(block, file.cached.get(block) ?? null);
      } else if (chance === 1 || world.chance(chance)) file.persist(block, this.torn(file, block, versions));
    }
  }

  private torn(file: FileData, block: number, versions: (Buffer | null)[]): Buffer | null {
    const { world } = this;
    const choices = [file.durable.get(block) ?? null, ...versions];
    const pick = () => choices[world.random.below(choices.length)]!;
    if (world.chance(0.7)) return pick() ?? null;
    const torn = Buffer.alloc(BLOCK);
    for (let at = 0; at < BLOCK; at += SECTOR) pick()?.copy(torn, at, at, at + SECTOR);
    return torn;
  }
}
