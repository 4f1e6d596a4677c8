import { addressAt, type Chain, DESCRIPTOR_BYTES, IndirectTable } from './chain.js';
import { DescFlag } from './constants.js';
import type { GuestMemory } from './guest-memory.js';
import { type QueueOptions, type RingMemory, type RingSizes, Taken, type VirtQueue } from './virtqueue.js';

const NO_INTERRUPT = 1;
const NO_NOTIFY = 1;
const AVAIL_RING = 2;
const USED_RING_WORDS = 1;

/** Virtio 1.2, 2.7: descriptor table, available ring { flags, idx, ring[n], used_event }, used ring { flags, idx, { id, len }[n], avail_event } */
export function splitSizes(size: number): RingSizes {
  return { descriptors: size * DESCRIPTOR_BYTES, driver: 6 + 2 * size, device: 6 + 8 * size };
}

/** A split virtqueue. */
export class SplitQueue implements VirtQueue {
  fault = '';
  private readonly memory: GuestMemory;
  private readonly size: number;
  private readonly indirect: boolean;
  private readonly eventIndex: boolean;
  private readonly table: Int32Array;
  private readonly avail: Uint16Array;
  private readonly used: Uint16Array;
  private readonly usedRing: Int32Array;
  private readonly availEventAt: number;
  private readonly indirectTable = new IndirectTable();
  private availIndex: number;
  private usedIndex: number;
  /** `usedIndex` when it was last decided whether to call. */
  private calledIndex: number;

  constructor(memory: GuestMemory, ring: RingMemory, options: QueueOptions) {
    const { size, base } = options;
    this.memory = memory;
    this.size = size;
    this.indirect = options.indirect;
    this.eventIndex = options.eventIndex;
    const { descriptors, driver, device } = ring;
    this.table = new Int32Array(descriptors.buffer, descriptors.byteOffset, size * 4);
    this.avail = new Uint16Array(driver.buffer, driver.byteOffset, 3 + size);
    this.used = new Uint16Array(device.buffer, device.byteOffset, 3 + 4 * size);
    this.usedRing = new Int32Array(device.buffer, device.byteOffset, 1 + 2 * size);
    this.availEventAt = 2 + 4 * size;
    this.availIndex = base & 0xffff;
    this.usedIndex = Atomics.load(this.used, 1);
    this.calledIndex = this.usedIndex;
  }

  get base(): number {
    return this.availIndex;
  }

  usedAfter(): number {
    return (this.usedIndex + 1) & 0xffff;
  }

  get usedBase(): number {
    return this.usedIndex;
  }

  /** Goes on behind what is given back and what a process before had taken: that many are out. */
  resume(out: number): void {
    this.availIndex = (this.usedIndex + out) & 0xffff;
  }

  hasMore(): boolean {
    return Atomics.load(this.avail, 1) !== this.availIndex;
  }

  take(chain: Chain): Taken {
    const ready = (Atomics.load(this.avail, 1) - this.availIndex) & 0xffff;
    if (ready === 0) return Taken.NOTHING;
    if (ready > this.size) return this.broken(`${ready} entries are available in a ring of ${this.size}`);
    const head = this.avail[AVAIL_RING + (this.availIndex & (this.size - 1))]!;
    this.availIndex = (this.availIndex + 1) & 0xffff;
    return this.read(head, chain);
  }

  /** The chain that begins with this descriptor. */
  read(head: number, chain: Chain): Taken {
    if (head >= this.size) return this.broken(`descriptor ${head} in a table of ${this.size}`);
    chain.clear();
    chain.id = head;
    const wrong = this.walk(head, chain);
    return wrong === null ? Taken.CHAIN : this.broken(wrong);
  }

  give(chain: Chain, writtenBytes: number): void {
    const at = USED_RING_WORDS + 2 * (this.usedIndex & (this.size - 1));
    this.usedRing[at] = chain.id;
    this.usedRing[at + 1] = writtenBytes;
    this.usedIndex = (this.usedIndex + 1) & 0xffff;
    Atomics.store(this.used, 1, this.usedIndex);
  }

  wantKicks(wanted: boolean): void {
    if (!this.eventIndex) Atomics.store(this.used, 0, wanted ? 0 : NO_NOTIFY);
    // Without being wanted it just lies behind: no kick until the ring has gone round.
    else if (wanted) Atomics.store(this.used, this.availEventAt, this.availIndex);
  }

  wantsCall(): boolean {
    const before = this.calledIndex;
    const now = this.usedIndex;
    this.calledIndex = now;
    if (before === now) return false;
    if (!this.eventIndex) return (Atomics.load(this.avail, 0) & NO_INTERRUPT) === 0;
    const event = Atomics.load(this.avail, AVAIL_RING + this.size);
    return ((now - event - 1) & 0xffff) < ((now - before) & 0xffff);
  }

  private walk(head: number, chain: Chain): string | null {
    const { table } = this;
    let index = head;
    for (let seen = 1; ; seen++) {
      if (seen > this.size) return 'chain is a loop';
      const at = index * 4;
      const address = addressAt(table, at);
      const length = table[at + 2]! >>> 0;
      const word = table[at + 3]!;
      const flags = word & 0xffff;
      if ((flags & DescFlag.INDIRECT) !== 0) {
        if (!this.indirect) return 'indirect table that was not negotiated';
        if ((flags & DescFlag.NEXT) !== 0) return 'indirect table that is not the last descriptor';
        return this.walkTable(address, length, chain);
      }
      const wrong = chain.add(this.memory, address, length, flags);
      if (wrong !== null) return wrong;
      if ((flags & DescFlag.NEXT) === 0) return null;
      index = word >>> 16;
      if (index >= this.size) return `descriptor ${index} in a table of ${this.size}`;
    }
  }

  private walkTable(address: number, length: number, chain: Chain): string | null {
    const table = this.indirectTable;
    const wrong = table.open(this.memory, address, length);
    if (wrong !== null) return wrong;
    const { words, first, count } = table;
    let index = 0;
    for (let seen = 1; ; seen++) {
      if (seen > count) return 'chain of an indirect table is a loop';
      const at = first + index * 4;
      const word = words[at + 3]!;
      const flags = word & 0xffff;
      if ((flags & DescFlag.INDIRECT) !== 0) return 'indirect table in an indirect table';
      const fault = chain.add(this.memory, addressAt(words, at), words[at + 2]! >>> 0, flags);
      if (fault !== null) return fault;
      if ((flags & DescFlag.NEXT) === 0) return null;
      index = word >>> 16;
      if (index >= count) return `descriptor ${index} in an indirect table of ${count}`;
    }
  }

  private broken(fault: string): Taken {
    this.fault = fault;
    return Taken.BROKEN;
  }
}
