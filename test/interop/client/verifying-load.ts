import { BlockOp, BlockRequest } from '../../../src/block/device.js';
import type { Volume } from '../../../src/client/index.js';
import { seededRandom } from '../../../src/common/random.js';
import { MiB } from '../../../src/common/units.js';
import { mapAnonymous } from '../../../src/io/index.js';

const BLOCK = 4096;

/**
 * Writes, reads and flushes at random places, a few at a time, and knows for every block what it has to hold. Blocks
 * of one lane are its own, so that a read has one right answer.
 */
export class VerifyingLoad {
  operations = 0;
  readonly wrong: string[] = [];
  readonly errors: string[] = [];
  private readonly volume: Volume;
  private readonly blocks: number;
  /** What each block holds, as one byte throughout; 0 before the first write. */
  private readonly holds: Uint8Array;
  private running = false;
  private lanes: Promise<void>[] = [];

  constructor(volume: Volume, sizeBytes: number) {
    this.volume = volume;
    this.blocks = sizeBytes / BLOCK;
    this.holds = new Uint8Array(this.blocks);
  }

  start(seed: number, lanes = 4): void {
    this.running = true;
    this.lanes = Array.from({ length: lanes }, (_, lane) => this.lane(seed + lane, lane, lanes));
  }

  async stop(): Promise<void> {
    this.running = false;
    await Promise.all(this.lanes);
  }

  /** Reads everything, by each replica in turn where reads take turns. */
  async verifyAll(volume: Volume = this.volume, rounds = 2): Promise<void> {
    const memory = mapAnonymous(MiB);
    for (let round = 0; round < rounds; round++) {
      for (let block = 0; block < this.blocks; block += MiB / BLOCK) {
        const count = Math.min(MiB / BLOCK, this.blocks - block);
        const error = await request(volume, BlockOp.READ, block * BLOCK, count * BLOCK, memory);
        if (error !== null) this.errors.push(error);
        for (let i = 0; i < count; i++) this.check(block + i, memory.bytes, i * BLOCK);
      }
    }
  }

  private async lane(seed: number, lane: number, lanes: number): Promise<void> {
    const random = seededRandom(seed);
    const memory = mapAnonymous(BLOCK);
    while (this.running) {
      const block = lane + lanes * random.below(Math.floor(this.blocks / lanes));
      const dice = random.below(20);
      const op = dice === 0 ? BlockOp.FLUSH : dice < 11 ? BlockOp.WRITE : BlockOp.READ;
      const byte = 1 + random.below(255);
      if (op === BlockOp.WRITE) memory.bytes.fill(byte);
      const place = op === BlockOp.FLUSH ? 0 : block * BLOCK;
      const error = await request(this.volume, op, place, op === BlockOp.FLUSH ? 0 : BLOCK, memory);
      this.operations++;
      if (error !== null) {
        this.errors.push(error);
        return;
      }
      if (op === BlockOp.WRITE) this.holds[block] = byte;
      if (op === BlockOp.READ) this.check(block, memory.bytes, 0);
    }
  }

  private check(block: number, bytes: Uint8Array, at: number): void {
    const expected = this.holds[block]!;
    const found = bytes.subarray(at, at + BLOCK).findIndex((byte) => byte !== expected);
    if (found >= 0) this.wrong.push(`block ${block} holds ${bytes[at + found]}, not ${expected}`);
  }
}

function request(
  volume: Volume,
  op: BlockOp,
  offset: number,
  length: number,
  memory: ReturnType<typeof mapAnonymous>,
): Promise<string | null> {
  return new Promise((resolve) => {
    const block = new BlockRequest({ blockDone: (_, error) => resolve(error?.toUserText() ?? null) });
    block.op = op;
    block.offset = offset;
    block.length = length;
    if (op !== BlockOp.FLUSH) block.slices.add(memory, 0, length);
    volume.submit(block);
  });
}
