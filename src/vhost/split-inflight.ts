import type { Chain } from './chain.js';
import { FEATURES_BYTES } from './inflight-area.js';
import type { Inflight } from './virtqueue.js';

/**
 * Layout as vhost-user recommends it for split queues, "Inflight I/O tracking":
 *
 *     u64 features; u16 version; u16 descriptors; u16 last batch head; u16 used index;
 *     { u8 in flight; u8[5]; u16 next; u64 counter }[descriptors]
 */
const SPLIT_HEADER_BYTES = 16;
const SPLIT_ENTRY_BYTES = 16;
const VERSION = 1;

/** Of a split queue. Each request is a batch of its own. */
export class SplitInflight implements Inflight {
  private readonly size: number;
  private readonly bytes: Buffer;
  private readonly shorts: Uint16Array;
  private counter = 0n;

  constructor(bytes: Buffer, size: number) {
    this.bytes = bytes;
    this.size = size;
    this.shorts = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 1);
  }

  /**
   * What had been taken and not given back, oldest first.
   * @param usedIndex of the ring, which is further by one where we were killed right after giving a request back
   */
  recover(usedIndex: number): number[] {
    const { bytes, shorts, size } = this;
    if (shorts[4] !== VERSION || shorts[5] !== size) {
      bytes.fill(0, FEATURES_BYTES);
      shorts[5] = size;
      shorts[7] = usedIndex;
      shorts[4] = VERSION;
      return [];
    }
    if (shorts[7] !== usedIndex) {
      const last = shorts[6]!;
      if (last < size) bytes[this.entry(last)] = 0;
      Atomics.store(shorts, 7, usedIndex);
    }
    const heads: number[] = [];
    for (let head = 0; head < size; head++) if (bytes[this.entry(head)] === 1) heads.push(head);
    heads.sort((a, b) => (this.counterOf(a) < this.counterOf(b) ? -1 : 1));
    const last = heads.at(-1);
    this.counter = last === undefined ? 0n : BigInt.asUintN(64, this.counterOf(last) + 1n);
    return heads;
  }

  taken({ id }: Chain): void {
    const at = this.entry(id);
    this.bytes.writeBigUInt64LE(this.counter, at + 8);
    this.counter = BigInt.asUintN(64, this.counter + 1n);
    Atomics.store(this.bytes, at, 1);
  }

  giving({ id }: Chain): void {
    Atomics.store(this.shorts, 6, id);
  }

  given({ id }: Chain, usedIndex: number): void {
    Atomics.store(this.bytes, this.entry(id), 0);
    Atomics.store(this.shorts, 7, usedIndex);
  }

  stopped(): void {}

  private entry(head: number): number {
    return SPLIT_HEADER_BYTES + head * SPLIT_ENTRY_BYTES;
  }

  private counterOf(head: number): bigint {
    return this.bytes.readBigUInt64LE(this.entry(head) + 8);
  }
}
