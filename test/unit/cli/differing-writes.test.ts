import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  BlockFlag,
  BlockOp,
  type BlockRequest,
  CheckedDevice,
  MemoryDevice,
} from '../../../src/block/index.js';
import { DifferingWrites } from '../../../src/cli/copy/differing-writes.js';
import { Lane } from '../../../src/cli/copy/lane.js';
import { RangeSet } from '../../../src/cli/difference/range-set.js';
import { createIo, type Io } from '../../../src/io/index.js';

const MiB = 2 ** 20;
let io: Io;
beforeAll(() => {
  io = createIo({ poolBytes: 16 * MiB });
});
afterAll(() => io.close());

/** Counts what comes through. */
class Counted extends MemoryDevice {
  readonly ops: string[] = [];
  override submit(request: BlockRequest): void {
    if (request.op !== BlockOp.READ) this.ops.push(`${request.op} ${request.offset}+${request.length}`);
    super.submit(request);
  }
}

describe('writes that differ', () => {
  it('are done, and no others', async () => {
    const inner = new Counted(io, { sizeBytes: 8 * MiB });
    const device = new CheckedDevice(new DifferingWrites(inner, io.pool));
    const lane = new Lane(io);
    const write = async (bytes: Buffer, offset: number) => {
      bytes.copy(lane.bytes(0, bytes.length));
      await lane.device(device, BlockOp.WRITE, offset, bytes.length);
      await lane.device(device, BlockOp.READ, offset, bytes.length);
      expect(lane.bytes(0, bytes.length).equals(bytes)).toBe(true);
      return inner.ops.splice(0);
    };
    const noise = randomBytes(MiB);
    expect(await write(noise, 4096)).toEqual([`2 4096+${MiB}`]);
    expect(await write(noise, 4096)).toEqual([]);
    expect(await write(noise.subarray(512, 8192), 4096 + 512)).toEqual([]);
    const other = Buffer.from(noise);
    other[MiB - 1]! ^= 1;
    expect(await write(other, 4096)).toEqual([`2 4096+${MiB}`]);
    // Zeros that are not there yet are written, as whoever asks for them has it.
    expect(await write(Buffer.alloc(4096), 4 * MiB)).toEqual([`2 ${4 * MiB}+4096`]);
    const flags = BlockFlag.MAY_UNMAP;
    await lane.device(device, BlockOp.WRITE_ZEROES, 6 * MiB, MiB, { flags });
    expect(inner.ops.splice(0)).toEqual([]);
    await lane.device(device, BlockOp.WRITE_ZEROES, 0, MiB, { flags });
    expect(inner.ops.splice(0)).toEqual([`5 0+${MiB}`]);
    lane.release();
    await device.close();
  });

  it('a set of ranges covers what it has, joined where they touch', () => {
    const set = new RangeSet();
    expect(set.covers(0, 1)).toBe(false);
    set.add(10, 10);
    set.add(20, 5);
    set.add(30, 10);
    for (const [from, until] of [
      [10, 25],
      [12, 24],
      [30, 40],
      [39, 40],
    ] as const)
      expect(set.covers(from, until)).toBe(true);
    for (const [from, until] of [
      [9, 11],
      [24, 26],
      [20, 31],
      [25, 30],
      [40, 41],
      [30, 41],
    ] as const)
      expect(set.covers(from, until)).toBe(false);
  });
});
