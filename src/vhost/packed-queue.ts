import { addressAt, type Chain, DESCRIPTOR_BYTES, IndirectTable } from './chain.js';
import { DescFlag } from './constants.js';
import type { GuestMemory } from './guest-memory.js';
import { type QueueOptions, type RingMemory, type RingSizes, Taken, type VirtQueue } from './virtqueue.js';

/** Event suppression (virtio 1.2, 2.8.10): { u16 offset and wrap; u16 flags }. */
const Event = { ENABLE: 0, DISABLE: 1, DESC: 2 } as const;
const WRAP = 1 << 15;

/** Virtio 1.2, 2.8: a ring of { u64 address; u32 length; u16 id; u16 flags } and two structures of event suppression. */
export function packedSizes(size: number): RingSizes {
  return { descriptors: size * DESCRIPTOR_BYTES, driver: 4, device: 4 };
}

/** Of a place in the ring and how often it has gone round. */
interface Cursor {
  index: number;
  wrap: boolean;
}

/** A packed virtqueue. */
export class PackedQueue implements VirtQueue {
  fault = '';
  private readonly memory: GuestMemory;
  private readonly size: number;
  private readonly indirect: boolean;
  private readonly eventIndex: boolean;
  private readonly words: Int32Array;
  private readonly shorts: Uint16Array;
  private readonly driver: Uint16Array;
  private readonly device: Uint16Array;
  private readonly indirectTable = new IndirectTable();
  private readonly avail: Cursor;
  private readonly used: Cursor;
  /** Descriptors given back since it was last decided whether to call. */
  private givenSince = 0;

  constructor(memory: GuestMemory, ring: RingMemory, options: QueueOptions) {
    const { size, base } = options;
    this.memory = memory;
    this.size = size;
    this.indirect = options.indirect;
    this.eventIndex = options.eventIndex;
    const { descriptors, driver, device } = ring;
    this.words = new Int32Array(descriptors.buffer, descriptors.byteOffset, size * 4);
    this.shorts = new Uint16Array(descriptors.buffer, descriptors.byteOffset, size * 8);
    this.driver = new Uint16Array(driver.buffer, driver.byteOffset, 2);
    this.device = new Uint16Array(device.buffer, device.byteOffset, 2);
    this.avail = cursorOf(base & 0xffff, size);
    this.used = cursorOf(base >>> 16, size);
  }

  get base(): number {
    return (placeOf(this.avail) | (placeOf(this.used) << 16)) >>> 0;
  }

  usedAfter(chain: Chain): number {
    const cursor = { ...this.used };
    this.advance(cursor, chain.ringDescriptors);
    return placeOf(cursor);
  }

  get usedBase(): number {
    return placeOf(this.used);
  }

  /** Goes on where a process that was killed has given the last, and behind what it had taken: so many descriptors are out. */
  resume(usedBase: number, out: number): void {
    Object.assign(this.used, cursorOf(usedBase, this.size));
    Object.assign(this.avail, this.used);
    this.advance(this.avail, out);
  }

  /** Whether the driver has been given the descriptor at this place. */
  isGiven(place: number): boolean {
    const { index, wrap } = cursorOf(place, this.size);
    const flags = Atomics.load(this.shorts, index * 8 + 7);
    return ((flags & DescFlag.AVAIL) !== 0) === wrap && ((flags & DescFlag.USED) !== 0) === wrap;
  }

  /** A chain once more, from its own copy of the descriptors. */
  readAgain(chain: Chain): Taken {
    const { words } = chain;
    const count = words.length / 4;
    for (let i = 0; i < count; i++) {
      const at = i * 4;
      const wrong = this.add(chain, addressAt(words, at), words[at + 2]! >>> 0, words[at + 3]! >>> 16);
      if (wrong === null) continue;
      this.fault = wrong;
      return Taken.BROKEN;
    }
    return Taken.CHAIN;
  }

  hasMore(): boolean {
    const flags = Atomics.load(this.shorts, this.avail.index * 8 + 7);
    const available = (flags & DescFlag.AVAIL) !== 0;
    const used = (flags & DescFlag.USED) !== 0;
    return available === this.avail.wrap && used !== this.avail.wrap;
  }

  take(chain: Chain): Taken {
    if (!this.hasMore()) return Taken.NOTHING;
    chain.clear();
    const wrong = this.walk(chain);
    if (wrong === null) return Taken.CHAIN;
    this.fault = wrong;
    return Taken.BROKEN;
  }

  give(chain: Chain, writtenBytes: number): void {
    const { used, words, shorts } = this;
    const at = used.index;
    words[at * 4 + 2] = writtenBytes;
    shorts[at * 8 + 6] = chain.id;
    const turn = used.wrap ? DescFlag.AVAIL | DescFlag.USED : 0;
    Atomics.store(shorts, at * 8 + 7, turn | (writtenBytes > 0 ? DescFlag.WRITE : 0));
    this.advance(used, chain.ringDescriptors);
    this.givenSince += chain.ringDescriptors;
  }

  wantKicks(wanted: boolean): void {
    if (!wanted) Atomics.store(this.device, 1, Event.DISABLE);
    else if (!this.eventIndex) Atomics.store(this.device, 1, Event.ENABLE);
    else {
      Atomics.store(this.device, 0, placeOf(this.avail));
      Atomics.store(this.device, 1, Event.DESC);
    }
  }

  wantsCall(): boolean {
    const given = this.givenSince;
    this.givenSince = 0;
    if (given === 0) return false;
    const flags = Atomics.load(this.driver, 1) & 3;
    if (flags === Event.DISABLE) return false;
    if (flags !== Event.DESC || !this.eventIndex) return true;
    const place = Atomics.load(this.driver, 0);
    // How far behind the next used place the wanted one lies, in descriptors.
    let behind = this.used.index - (place & ~WRAP);
    if (((place & WRAP) !== 0) !== this.used.wrap) behind += this.size;
    return behind > 0 && behind <= given;
  }

  private walk(chain: Chain): string | null {
    const { words, avail, size } = this;
    const copy = chain.words;
    copy.length = 0;
    for (;;) {
      if (chain.ringDescriptors === size) return 'chain is longer than the ring';
      const at = avail.index * 4;
      const taken = copy.length;
      copy.push(words[at]!, words[at + 1]!, words[at + 2]!, words[at + 3]!);
      const word = copy[taken + 3]!;
      chain.id = word & 0xffff;
      const flags = word >>> 16;
      const isLast = (flags & DescFlag.NEXT) === 0;
      if (isLast && chain.id >= size) return `buffer id ${chain.id} in a ring of ${size}`;
      this.advance(avail, 1);
      // From the copy: the driver may change its own at any time.
      const wrong = this.add(chain, addressAt(copy, taken), copy[taken + 2]! >>> 0, flags);
      if (wrong !== null) return wrong;
      if (isLast) return null;
    }
  }

  private add(chain: Chain, address: number, length: number, flags: number): string | null {
    chain.ringDescriptors++;
    if ((flags & DescFlag.INDIRECT) === 0) return chain.add(this.memory, address, length, flags);
    if (!this.indirect) return 'indirect table that was not negotiated';
    if ((flags & DescFlag.NEXT) !== 0 || chain.ringDescriptors > 1) return 'indirect table within a chain';
    return this.walkTable(address, length, chain);
  }

  private walkTable(address: number, length: number, chain: Chain): string | null {
    const table = this.indirectTable;
    const wrong = table.open(this.memory, address, length);
    if (wrong !== null) return wrong;
    const { words, first, count } = table;
    for (let i = 0; i < count; i++) {
      const at = first + i * 4;
      const flags = (words[at + 3]! >>> 16) & DescFlag.WRITE;
      const fault = chain.add(this.memory, addressAt(words, at), words[at + 2]! >>> 0, flags);
      if (fault !== null) return fault;
    }
    return null;
  }

  private advance(cursor: Cursor, by: number): void {
    cursor.index += by;
    if (cursor.index < this.size) return;
    cursor.index -= this.size;
    cursor.wrap = !cursor.wrap;
  }
}

function cursorOf(value: number, size: number): Cursor {
  return { index: (value & ~WRAP) % size, wrap: (value & WRAP) !== 0 };
}

function placeOf({ index, wrap }: Cursor): number {
  return index | (wrap ? WRAP : 0);
}
