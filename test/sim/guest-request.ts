import { BlockFlag, BlockOp, type BlockOwner, BlockRequest } from '../../src/block/device.js';
import type { RawstorError } from '../../src/common/errors.js';
import { heapMemory, type Memory } from '../../src/io/memory.js';
import type { Cluster } from './cluster.js';
import type { Guest } from './guest.js';
import { BLOCK_BYTES, type Flush, type ReadCheck, type Write } from './oracle.js';

/** One request of a guest: kept until it is answered, over restarts of the gateway. */
export class GuestRequest implements BlockOwner {
  readonly block = new BlockRequest(this);
  readonly memory: Memory = heapMemory(BLOCK_BYTES);
  readonly guest: Guest;
  write: Write | null = null;
  read: ReadCheck | null = null;
  flushed: Flush | null = null;
  /** Which of the guest's gateways has it. */
  attempt = 0;
  submittedAtMs = 0;
  /** Times that each disk had lost something when it was submitted. */
  losses: number[] = [];

  constructor(guest: Guest) {
    this.guest = guest;
  }

  asFlush({ oracle }: Cluster): void {
    this.block.op = BlockOp.FLUSH;
    this.flushed = oracle.beginFlush();
  }

  asRead({ oracle, offsetOf }: Cluster, block: number): void {
    this.block.op = BlockOp.READ;
    this.block.offset = offsetOf(block);
    this.block.length = BLOCK_BYTES;
    this.read = oracle.beginRead(block);
  }

  asWrite({ oracle, offsetOf, world, load }: Cluster, block: number, op: BlockOp): void {
    this.write = oracle.issue(block, op !== BlockOp.WRITE);
    oracle.fill(this.write, this.memory.bytes);
    this.block.op = op;
    this.block.flags = world.chance(load.fua) ? BlockFlag.FUA : 0;
    if (op === BlockOp.WRITE_ZEROES && world.chance(0.5)) this.block.flags |= BlockFlag.MAY_UNMAP;
    this.block.offset = offsetOf(block);
    this.block.length = BLOCK_BYTES;
  }

  /** What it makes of its block. */
  contents(): Buffer {
    return this.block.op === BlockOp.WRITE ? this.memory.bytes : Buffer.alloc(BLOCK_BYTES);
  }

  blockDone(_request: BlockRequest, error: RawstorError | null): void {
    this.guest.done(this, this.attempt, error);
  }
}
