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
  /** NaN for one that was never applied, or that is what a snapshot has. */
  readonly values: number[];
  /** By index: the snapshots whose content came into the block as by a write. */
  readonly shown: Map<number, Cut>;
  /** Acknowledged, with the tag under which it was sent last: what a seal of that tag covers. */
  readonly tagged: { tag: number; least: number }[];
  /** Issued and not acknowledged. */
  readonly open: Set<number>;
  /** Per sector: index of the oldest write that a read may still give. */
  readonly floor: Int32Array;
  /** The same after a loss of what was not flushed. */
  readonly flushed: Int32Array;
  /** What `flushed` was at each loss. */
  readonly lostTo: Int32Array[];
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
  /** Before it. */
  readonly losses: number;
  /** The oldest write that was not acknowledged, or the next to be issued: it may be applied behind what the read gives. */
  readonly oldestOpen: number;
}

/** A snapshot: what may be in it. */
export interface Cut {
  readonly oracle: Oracle;
  /** What was acknowledged, or read, before it was asked for. */
  readonly floors: Int32Array[];
  readonly losses: number;
  /** How many writes each block had when it was there: none later is in. Null while that is not known. */
  ends: number[] | null;
  /** By block, as it was read first: it never reads otherwise (I11). */
  readonly read: Map<number, Buffer>;
}

/**
 * What a volume may answer: of every sector the last acknowledged write or one issued later, and never one
 * older than what was read before; after a recorded loss the last flushed one or later.
 */
export class Oracle {
  private readonly world: World;
  private readonly blocks: BlockHistory[];
  private nextValue: number;
  losses = 0;

  /**
   * @param firstValue of several volumes none writes what another does
   * @param base what a clone lies over
   */
  constructor(world: World, blockCount: number, firstValue = 1, base: Cut | null = null) {
    this.world = world;
    this.nextValue = firstValue;
    this.blocks = Array.from({ length: blockCount }, () => ({
      values: [base === null ? 0 : Number.NaN],
      shown: new Map(base === null ? [] : [[0, base]]),
      open: new Set(),
      tagged: [],
      floor: new Int32Array(SECTORS),
      flushed: new Int32Array(SECTORS),
      lostTo: [],
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

  /** The block becomes what a snapshot has. */
  issueShown(block: number, cut: Cut): Write {
    const write = this.issue(block, true);
    const { values, shown } = this.blocks[block]!;
    values[write.index] = Number.NaN;
    shown.set(write.index, cut);
    return write;
  }

  /** It has not been applied, and will not be: the old state is there. */
  undone(write: Write): void {
    const { values, shown, open } = this.blocks[write.block]!;
    values[write.index] = Number.NaN;
    shown.delete(write.index);
    open.delete(write.index);
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
    const floors = this.blocks.map(({ floor }) => floor.slice());
    return { oracle: this, floors, losses: this.losses, ends: null, read: new Map() };
  }

  /** It is there. A loss meanwhile may have come before it. */
  endCut(cut: Cut): void {
    cut.ends = this.blocks.map(({ values }) => values.length);
    if (cut.losses !== this.losses) for (const floor of cut.floors) floor.fill(0);
  }

  /** What is read of a snapshot: the same whoever reads it, and whenever. */
  checkCut(cut: Cut, block: number, bytes: Buffer, where: string): void {
    const before = cut.read.get(block);
    if (before === undefined) {
      for (let sector = 0; sector < SECTORS; sector++) {
        const value = bytes.readUInt32LE(sector * SECTOR_BYTES);
        if (!this.mayShow(cut, block, sector, value)) this.failCut(cut, block, sector, value, where);
      }
      cut.read.set(block, Buffer.from(bytes));
    } else if (!before.equals(bytes)) {
      this.world.fail(
        `${where} has in block ${block} write ${bytes.readUInt32LE(0)}, and was read as ${before.readUInt32LE(0)}`,
      );
    }
  }

  /** What a disk has of a snapshot that nobody has read: it may be, and what was acknowledged is there. */
  checkFrozen(cut: Cut, block: number, bytes: Buffer, where: string): void {
    for (let sector = 0; sector < SECTORS; sector++) {
      const value = bytes.readUInt32LE(sector * SECTOR_BYTES);
      if (!this.mayShow(cut, block, sector, value)) this.failCut(cut, block, sector, value, where);
    }
  }

  private failCut(cut: Cut, block: number, sector: number, value: number, where: string): void {
    const { from, end } = this.rangeOf(cut, block, sector);
    this.world.fail(
      `${where} has in block ${block} sector ${sector} write ${value} (index ${this.lastOf(block, sector, value)}), ` +
        `legal from index ${from} to ${end - 1}`,
    );
  }

  /** Blocks that surely are not what a snapshot has: whatever write they may have of those since `floors` was issued after it was there. */
  surelyChanged({ ends }: Cut, { floors }: Cut): number[] {
    if (ends === null) return [];
    const isNew = (values: number[], from: number, end: number) =>
      from >= end && values.slice(from).every((value) => value !== 0);
    // What was rolled back may be as it was.
    return this.blocks.flatMap(({ values, shown }, block) =>
      shown.size === 0 && floors[block]!.some((floor) => isNew(values, floor, ends[block]!)) ? [block] : [],
    );
  }

  /** Whether a snapshot of this volume may have the value there. */
  private mayShow(cut: Cut, block: number, sector: number, value: number): boolean {
    const read = cut.read.get(block);
    if (read !== undefined) return read.readUInt32LE(sector * SECTOR_BYTES) === value;
    const { from, end } = this.rangeOf(cut, block, sector);
    return this.find(block, sector, value, from, end) >= 0;
  }

  /** Of a snapshot whose end nobody saw a loss may have come before it, too. */
  private rangeOf(cut: Cut, block: number, sector: number): { from: number; end: number } {
    const end = cut.ends?.[block] ?? this.blocks[block]!.values.length;
    const from = cut.ends === null && cut.losses !== this.losses ? 0 : cut.floors[block]![sector]!;
    return { from, end };
  }

  /** The first from `from` on, and before `end`, that may have written the value; -1: none. */
  private find(block: number, sector: number, value: number, from: number, end = Infinity): number {
    const { values, shown } = this.blocks[block]!;
    const first = values.indexOf(value, from);
    const found = first < end ? first : -1;
    for (const [index, cut] of shown) {
      if (index < from || index >= end || (found >= 0 && index > found)) continue;
      if (cut.oracle.mayShow(cut, block, sector, value)) return index;
    }
    return found;
  }

  private lastOf(block: number, sector: number, value: number): number {
    const last = this.blocks[block]!.values.lastIndexOf(value);
    return last >= 0 ? last : this.find(block, sector, value, 0);
  }

  beginRead(block: number): ReadCheck {
    const { floor, open, values } = this.blocks[block]!;
    // Those issued while it is under way may be applied in another order, too.
    return { block, floor: floor.slice(), losses: this.losses, oldestOpen: Math.min(values.length, ...open) };
  }

  /** A loss is on record: unflushed writes may be gone. */
  lossRecorded(): void {
    this.losses++;
    for (const { floor, flushed, lostTo, tagged } of this.blocks) {
      floor.set(flushed);
      lostTo.push(flushed.slice());
      // Later seals cover what is written again, not what is gone.
      tagged.length = 0;
    }
  }

  readDone(check: ReadCheck, bytes: Buffer, who: string): void {
    const problem = this.judge(check, bytes, true);
    if (problem !== null) this.world.fail(`${who} read ${problem}`);
  }

  /** Somebody reads who does not write: what was acknowledged before that is there, and nothing more is known of it. */
  peeked(check: ReadCheck, bytes: Buffer, who: string): void {
    const problem = this.judge(check, bytes, false);
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
      // A loss recorded meanwhile makes more legal than was when the read began, and than is since the next write.
      const lost = history.lostTo.slice(check.losses).map((flushed) => flushed[sector]!);
      const from = Math.min(check.floor[sector]!, history.floor[sector]!, ...lost);
      const found = this.find(check.block, sector, value, from);
      if (found < 0 || (value !== 0 && block !== check.block)) {
        const last = this.lastOf(check.block, sector, value);
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
