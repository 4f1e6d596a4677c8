import type { World } from './world.js';

export const BLOCK_BYTES = 1024;
export const SECTOR_BYTES = 512;
const SECTORS = BLOCK_BYTES / SECTOR_BYTES;

/** One write to one block, in the order of issue; `value` 0 for zeros. */
export interface Write {
  readonly block: number;
  readonly index: number;
  readonly value: number;
}

interface BlockHistory {
  readonly values: number[];
  /** Per sector: index of the oldest write that a read may still give. */
  readonly floor: Int32Array;
  /** The same after a loss of what was not flushed. */
  readonly flushed: Int32Array;
}

/** A read under way: what was legal when it was issued. */
export interface ReadCheck {
  readonly block: number;
  readonly floor: Int32Array;
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
      floor: new Int32Array(SECTORS),
      flushed: new Int32Array(SECTORS),
    }));
  }

  issue(block: number, zero: boolean): Write {
    const { values } = this.blocks[block]!;
    const value = zero ? 0 : this.nextValue++;
    return { block, index: values.push(value) - 1, value };
  }

  fill(write: Write, bytes: Buffer): void {
    bytes.fill(0);
    if (write.value === 0) return;
    for (let sector = 0; sector < SECTORS; sector++) {
      bytes.writeUInt32LE(write.value, sector * SECTOR_BYTES);
      bytes.writeUInt32LE(write.block, sector * SECTOR_BYTES + 4);
    }
  }

  acknowledged(write: Write, durable: boolean): void {
    const { floor, flushed } = this.blocks[write.block]!;
    for (let sector = 0; sector < SECTORS; sector++) {
      floor[sector] = Math.max(floor[sector]!, write.index);
      if (durable) flushed[sector] = Math.max(flushed[sector]!, write.index);
    }
  }

  beginFlush(): Int32Array[] {
    return this.blocks.map(({ floor }) => floor.slice());
  }

  flushDone(covered: readonly Int32Array[]): void {
    for (const [block, floor] of covered.entries()) {
      const { flushed } = this.blocks[block]!;
      for (let sector = 0; sector < SECTORS; sector++) {
        flushed[sector] = Math.max(flushed[sector]!, floor[sector]!);
      }
    }
  }

  beginRead(block: number): ReadCheck {
    return { block, floor: this.blocks[block]!.floor.slice() };
  }

  /** A loss is on record: unflushed writes may be gone. */
  lossRecorded(): void {
    this.losses++;
    for (const { floor, flushed } of this.blocks) floor.set(flushed);
  }

  readDone(check: ReadCheck, bytes: Buffer, who: string): void {
    const problem = this.judge(check, bytes, true);
    if (problem !== null) this.world.fail(`${who} read ${problem}`);
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
      if (learn) history.floor[sector] = Math.max(history.floor[sector]!, found);
    }
    return null;
  }
}
