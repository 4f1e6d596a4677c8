import type { World } from './world.js';

export const BLOCK_BYTES = 1024;
export const SECTOR_BYTES = 512;
const SECTORS = BLOCK_BYTES / SECTOR_BYTES;

/** One write to one block, in the order of issue; `value` 0 for zeros. */
export interface Write {
  readonly block: number;
  readonly index: number;
  readonly value: number;
  /** The oldest one that was under way with it, or itself: either may be the last to be applied. */
  readonly least: number;
}

interface BlockHistory {
  readonly values: number[];
  /** Acknowledged, with the tag under which it was sent last: what a seal of that tag covers. */
  readonly tagged: { tag: number; least: number }[];
  /** Issued and not acknowledged. */
  readonly open: Set<number>;
  /** Per sector: index of the oldest write that a read may still give. */
  readonly floor: Int32Array;
  /** The same after a loss of what was not flushed. */
  readonly flushed: Int32Array;
}

/** A flush under way: what was acknowledged when it was asked for. */
export interface Flush {
  readonly floors: Int32Array[];
  readonly losses: number;
}

/** A read under way: what was legal when it was issued. */
export interface ReadCheck {
  readonly block: number;
  readonly floor: Int32Array;
  /** The oldest write that was not acknowledged: it may be applied behind what the read gives. */
  readonly oldestOpen: number;
}

/** A snapshot: what may be in it. */
export interface Cut {
  /** What was acknowledged, or read, before it was asked for. */
  readonly floors: Int32Array[];
  readonly losses: number;
  /** How many writes each block had when it was there: none later is in. Null while that is not known. */
  ends: number[] | null;
}

/**
 * What a volume may answer: of every sector the last acknowledged write or one issued later, and never one
 * older than what was read before; after a recorded loss the last flushed one or later.
 */
export class Oracle {
  private readonly world: World;
  private readonly blocks: BlockHistory[];
  private nextValue = 1;
  losses = 0;

  constructor(world: World, blockCount: number) {
    this.world = world;
    this.blocks = Array.from({ length: blockCount }, () => ({
      values: [0],
      open: new Set(),
      tagged: [],
      floor: new Int32Array(SECTORS),
      flushed: new Int32Array(SECTORS),
    }));
  }

  issue(block: number, zero: boolean): Write {
    const { values, open } = this.blocks[block]!;
    const value = zero ? 0 : this.nextValue++;
    const index = values.push(value) - 1;
    let least = index;
    for (const other of open) least = Math.min(least, other);
    open.add(index);
    return { block, index, value, least };
  }

  fill(write: Write, bytes: Buffer): void {
    bytes.fill(0);
    if (write.value === 0) return;
    for (let sector = 0; sector < SECTORS; sector++) {
      bytes.writeUInt32LE(write.value, sector * SECTOR_BYTES);
      bytes.writeUInt32LE(write.block, sector * SECTOR_BYTES + 4);
    }
  }

  acknowledged(write: Write, durable: boolean, tag: number): void {
    const { floor, flushed, open, tagged } = this.blocks[write.block]!;
    tagged.push({ tag, least: write.least });
    open.delete(write.index);
    for (let sector = 0; sector < SECTORS; sector++) {
      floor[sector] = Math.max(floor[sector]!, write.least);
      if (durable) flushed[sector] = Math.max(flushed[sector]!, write.least);
    }
  }

  /** Its guest is dead: it may have been applied, and will not be from now on. */
  forgotten(write: Write): void {
    this.blocks[write.block]!.open.delete(write.index);
  }

  beginFlush(): Flush {
    return { floors: this.blocks.map(({ floor }) => floor.slice()), losses: this.losses };
  }

  flushDone({ floors, losses }: Flush): void {
    // Sent again by another gateway after a loss in between: what it was asked to cover is gone.
    if (losses !== this.losses) return;
    for (const [block, floor] of floors.entries()) {
      const { flushed } = this.blocks[block]!;
      for (let sector = 0; sector < SECTORS; sector++) {
        flushed[sector] = Math.max(flushed[sector]!, floor[sector]!);
      }
    }
  }

  beginCut(): Cut {
    return { floors: this.blocks.map(({ floor }) => floor.slice()), losses: this.losses, ends: null };
  }

  /** It is there. A loss meanwhile may have come before it. */
  endCut(cut: Cut): void {
    cut.ends = this.blocks.map(({ values }) => values.length);
    if (cut.losses !== this.losses) for (const floor of cut.floors) floor.fill(0);
  }

  /** Of a snapshot whose end nobody saw a loss may have come before it, too. */
  checkCut(cut: Cut, block: number, bytes: Buffer, where: string): void {
    const { values } = this.blocks[block]!;
    const end = cut.ends?.[block] ?? values.length;
    for (let sector = 0; sector < SECTORS; sector++) {
      const value = bytes.readUInt32LE(sector * SECTOR_BYTES);
      const from = cut.ends === null && cut.losses !== this.losses ? 0 : cut.floors[block]![sector]!;
      const found = values.indexOf(value, from);
      if (found >= 0 && found < end) continue;
      this.world.fail(
        `${where} has in block ${block} sector ${sector} write ${value} (index ${values.lastIndexOf(value)}), ` +
          `legal from index ${from} to ${end - 1}`,
      );
    }
  }

  /** Blocks that surely are not what a snapshot has: whatever write they may have of those since `floors` was issued after it was there. */
  surelyChanged({ ends }: Cut, { floors }: Cut): number[] {
    if (ends === null) return [];
    const isNew = (values: number[], from: number, end: number) =>
      from >= end && values.slice(from).every((value) => value !== 0);
    return this.blocks.flatMap(({ values }, block) =>
      floors[block]!.some((floor) => isNew(values, floor, ends[block]!)) ? [block] : [],
    );
  }

  beginRead(block: number): ReadCheck {
    const { floor, open } = this.blocks[block]!;
    return { block, floor: floor.slice(), oldestOpen: Math.min(Number.POSITIVE_INFINITY, ...open) };
  }

  /** A loss is on record: unflushed writes may be gone. */
  lossRecorded(): void {
    this.losses++;
    for (const { floor, flushed, tagged } of this.blocks) {
      floor.set(flushed);
      // Later seals cover what is written again, not what is gone.
      tagged.length = 0;
    }
  }

  readDone(check: ReadCheck, bytes: Buffer, who: string): void {
    const problem = this.judge(check, bytes, true);
    if (problem !== null) this.world.fail(`${who} read ${problem}`);
  }

  /** What was acknowledged and carried this tag or an older one. */
  taggedUpTo(seal: number): Int32Array[] {
    return this.blocks.map(({ tagged }) => {
      let least = 0;
      for (const one of tagged) if (one.tag <= seal) least = Math.max(least, one.least);
      return new Int32Array(SECTORS).fill(least);
    });
  }

  /** What must be durable by now wherever the block is, as known when `floors` was taken. */
  checkDurable(block: number, floors: readonly Int32Array[], bytes: Buffer, where: string): void {
    const problem = this.judge({ ...this.beginRead(block), floor: floors[block]! }, bytes, false);
    if (problem !== null) this.world.fail(`sealed, but ${where} has ${problem}`);
  }

  /** Contents of a disk, which must be legal too. */
  check(block: number, bytes: Buffer, where: string): void {
    const problem = this.judge(this.beginRead(block), bytes, false);
    if (problem !== null) this.world.fail(`${where} has ${problem}`);
  }

  private judge(check: ReadCheck, bytes: Buffer, learn: boolean): string | null {
    const history = this.blocks[check.block]!;
    for (let sector = 0; sector < SECTORS; sector++) {
      const value = bytes.readUInt32LE(sector * SECTOR_BYTES);
      const block = bytes.readUInt32LE(sector * SECTOR_BYTES + 4);
      // A loss recorded meanwhile makes more legal than was when the read began.
      const from = Math.min(check.floor[sector]!, history.floor[sector]!);
      const found = history.values.indexOf(value, from);
      if (found < 0 || (value !== 0 && block !== check.block)) {
        const last = history.values.lastIndexOf(value);
        return (
          `block ${check.block} sector ${sector}: write ${value} (index ${last}), ` +
          `legal from index ${from} (write ${history.values[from]}) to ${history.values.length - 1}`
        );
      }
      // Of two under way together the one issued first may be the last to be applied.
      if (learn) history.floor[sector] = Math.max(history.floor[sector]!, Math.min(found, check.oldestOpen));
    }
    return null;
  }
}
