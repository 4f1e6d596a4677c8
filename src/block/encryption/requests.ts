import type { RawstorError } from '../../common/errors.js';
import { MiB } from '../../common/units.js';
import { MemoryShares, mapAnonymous } from '../../io/index.js';
import { BufferPool, type PoolBuffer } from '../../io/pool.js';
import { BlockOp, type BlockOwner, BlockRequest } from '../device.js';
import { addressOf, isCipherable, type XtsCipher } from './cipher.js';

/** Ciphertext of writes that are under way in this process, and of reads into pieces that are no sectors. Pages are taken when they are first used. */
const POOL_BYTES = 64 * MiB;
/** Most of one volume. */
const VOLUME_BYTES = 16 * MiB;

/** Apart from the pool of I/O: what waits here may hold buffers of that one. Volumes that get no answer leave room for others. */
class CipherMemory {
  readonly pool = new BufferPool(mapAnonymous(POOL_BYTES));
  readonly shares = new MemoryShares(POOL_BYTES / 2, POOL_BYTES);
}

let shared: CipherMemory | null = null;

function cipherMemory(): CipherMemory {
  shared ??= new CipherMemory();
  return shared;
}

/** What the ciphertext goes to and comes from. */
export interface CipherTarget {
  submit(request: BlockRequest): void;
}

/** One request on its way: what the target sees of it is `block`. */
class Ciphered {
  readonly block: BlockRequest;
  outer: BlockRequest | null = null;
  buffer: PoolBuffer | null = null;
  /** Pieces that the cipher is at. */
  left = 0;
  error: RawstorError | null = null;

  constructor(owner: BlockOwner) {
    this.block = new BlockRequest(owner);
  }
}

/**
 * Ciphers what is written and deciphers what is read, sector by sector, each bound to its place in the volume. What is written is
 * ciphered to memory of its own, as the writer's stays as it is; what is read is deciphered where it lands. Zeroes and discards pass: they
 * read as zeros.
 */
export class CipheredRequests implements CipherTarget, BlockOwner {
  private readonly cipher: XtsCipher;
  private readonly target: CipherTarget;
  private readonly pool = cipherMemory().pool;
  private readonly share = cipherMemory().shares.open(VOLUME_BYTES);
  private readonly free: Ciphered[] = [];
  private readonly byBlock = new Map<BlockRequest, Ciphered>();
  private waiting: Ciphered[] = [];
  private listening = false;
  private unsent = 0;
  private idle: (() => void)[] = [];

  constructor(cipher: XtsCipher, target: CipherTarget) {
    this.cipher = cipher;
    this.target = target;
  }

  submit(outer: BlockRequest): void {
    if (outer.op !== BlockOp.READ && outer.op !== BlockOp.WRITE) return this.target.submit(outer);
    const one = this.take(outer);
    this.unsent++;
    if (outer.op === BlockOp.READ && isCipherable(outer.slices)) {
      one.block.slices.addRange(outer.slices, 0, outer.length);
      return this.send(one);
    }
    if (this.waiting.length > 0 || !this.begin(one)) this.wait(one);
  }

  /** What was submitted, of a request as the target has it. */
  submitted(block: BlockRequest): BlockRequest {
    return this.byBlock.get(block)?.outer ?? block;
  }

  /** All that was submitted has reached the target. */
  async settled(): Promise<void> {
    if (this.unsent > 0) await new Promise<void>((resolve) => this.idle.push(resolve));
  }

  blockDone(block: BlockRequest, error: RawstorError | null): void {
    const one = this.byBlock.get(block)!;
    if (error !== null || block.op === BlockOp.WRITE) return this.end(one, error);
    this.decipher(one);
  }

  /** @returns false where there is no memory for it now */
  private begin(one: Ciphered): boolean {
    const outer = one.outer!;
    const buffer = this.share.acquire(this.pool, outer.length);
    if (buffer === null) return false;
    one.buffer = buffer;
    one.block.slices.add(buffer.memory, buffer.offset, outer.length);
    if (outer.op === BlockOp.READ) this.send(one);
    else this.encipher(one, buffer);
    return true;
  }

  private wait(one: Ciphered): void {
    this.waiting.push(one);
    this.listen();
  }

  private listen(): void {
    if (this.listening) return;
    this.listening = true;
    this.pool.whenFree(() => {
      this.listening = false;
      let begun = 0;
      while (begun < this.waiting.length && this.begin(this.waiting[begun]!)) begun++;
      this.waiting.splice(0, begun);
      if (this.waiting.length > 0) this.listen();
    });
  }

  private encipher(one: Ciphered, buffer: PoolBuffer): void {
    const { slices, length, offset } = one.outer!;
    const to = addressOf(buffer.memory, buffer.offset);
    const next = () => (one.error === null ? this.send(one) : this.refuse(one));
    if (isCipherable(slices)) return this.pieces(one, true, to, next);
    let at = buffer.offset;
    for (let i = 0; i < slices.count; i++) {
      const [memory, from, size] = [slices.memory[i]!, slices.offset[i]!, slices.length[i]!];
      memory.bytes.copy(buffer.memory.bytes, at, from, from + size);
      at += size;
    }
    this.cipher.run(true, to, to, length, offset, (error) => {
      one.error = error;
      next();
    });
  }

  private decipher(one: Ciphered): void {
    const outer = one.outer!;
    const { buffer } = one;
    if (buffer === null) return this.pieces(one, false, null, () => this.end(one, one.error));
    const at = addressOf(buffer.memory, buffer.offset);
    this.cipher.run(false, at, at, outer.length, outer.offset, (error) => {
      if (error === null) outer.slices.fill(buffer.memory, buffer.offset, 0, outer.length);
      this.end(one, error);
    });
  }

  /** Each piece of the request by itself. @param to where they go, one behind the other; null: they stay where they are */
  private pieces(one: Ciphered, sealing: boolean, to: number | null, next: () => void): void {
    const { slices, offset } = one.outer!;
    one.left = slices.count;
    const done = (error: RawstorError | null) => {
      one.error ??= error;
      if (--one.left === 0) next();
    };
    let at = 0;
    const { count } = slices;
    for (let i = 0; i < count; i++) {
      const from = addressOf(slices.memory[i]!, slices.offset[i]!);
      const size = slices.length[i]!;
      this.cipher.run(sealing, from, to === null ? from : to + at, size, offset + at, done);
      at += size;
    }
  }

  private send(one: Ciphered): void {
    this.left();
    this.target.submit(one.block);
  }

  /** Not sent: never from within the submit that it came by. */
  private refuse(one: Ciphered): void {
    this.left();
    setImmediate(() => this.end(one, one.error));
  }

  private left(): void {
    if (--this.unsent > 0) return;
    for (const resolve of this.idle.splice(0)) resolve();
  }

  private take(outer: BlockRequest): Ciphered {
    const one = this.free.pop() ?? this.made();
    const { block } = one;
    one.outer = outer;
    one.error = null;
    block.op = outer.op;
    block.flags = outer.flags;
    block.offset = outer.offset;
    block.length = outer.length;
    block.slices.clear();
    return one;
  }

  private made(): Ciphered {
    const one = new Ciphered(this);
    this.byBlock.set(one.block, one);
    return one;
  }

  private end(one: Ciphered, error: RawstorError | null): void {
    const outer = one.outer!;
    one.outer = null;
    const { buffer } = one;
    one.buffer = null;
    this.free.push(one);
    if (buffer !== null) this.share.release(buffer);
    outer.owner.blockDone(outer, error);
  }
}
