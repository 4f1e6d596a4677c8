import { RawstorError } from '../common/errors.js';
import type { Chain } from './chain.js';
import { FEATURES_BYTES } from './inflight-area.js';
import type { Inflight } from './virtqueue.js';

/**
 * Layout after what vhost-user recommends for packed queues, "Inflight I/O tracking"; only this program reads it:
 *
 *     u64 features; u16 version; u16 descriptors; u16 free head; u16 old free head; u16 used index; u16 old used index;
 *     u8[12];
 *     { u8 in flight; u8; u16 next; u16 last; u16 number; u64 counter; u16 id; u16 flags; u32 length; u64 address }[descriptors]
 *
 * Both used indexes have their wrap counter in the highest bit. `old free head` names the chain that is being given back while
 * `used index` and `old used index` differ. The list of free entries lives in this process: it follows from the others.
 */
const HEADER_SHORTS = 16;
const ENTRY_SHORTS = 16;
const VERSION = 1;
/** No entry. */
const NONE = 0xffff;
const AT = { VERSION: 4, DESCRIPTORS: 5, GIVING: 7, USED: 8, OLD_USED: 9 } as const;
/** In an entry. */
const IN = {
  INFLIGHT: 0,
  NEXT: 1,
  LAST: 2,
  NUMBER: 3,
  COUNTER: 4,
  ID: 8,
  FLAGS: 9,
  LENGTH: 10,
  ADDRESS: 12,
} as const;

export interface PackedRecovery {
  /** Entries of chains that had been taken and not given back, oldest first. */
  readonly heads: number[];
  /** Ring descriptors of all of them. */
  readonly out: number;
  /** Where the ring goes on; null when the one that sets up the ring knows better. */
  readonly usedBase: number | null;
}

/** Of a packed queue. */
export class PackedInflight implements Inflight {
  private readonly size: number;
  private readonly bytes: Buffer;
  private readonly shorts: Uint16Array;
  private counter = 0n;
  private free: number[] = [];
  /** Entries of what was recovered and not begun again yet, by its first. The area may change meanwhile. */
  private recovered = new Map<number, number[]>();

  constructor(bytes: Buffer, size: number) {
    this.bytes = bytes;
    this.size = size;
    this.shorts = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 1);
  }

  /**
   * @param isGiven whether the ring tells that the descriptor at that place was given to the driver
   * @throws RawstorError INVALID where what is in flight is no set of chains
   */
  recover(usedBase: number, isGiven: (place: number) => boolean): PackedRecovery {
    const { bytes, shorts, size } = this;
    if (shorts[AT.VERSION] !== VERSION || shorts[AT.DESCRIPTORS] !== size) {
      bytes.fill(0, FEATURES_BYTES);
      shorts[AT.DESCRIPTORS] = size;
      shorts[AT.USED] = usedBase;
      shorts[AT.OLD_USED] = usedBase;
      this.collectFree(new Set());
      Atomics.store(shorts, AT.VERSION, VERSION);
      return { heads: [], out: 0, usedBase: null };
    }
    const [used, old] = [shorts[AT.USED]!, shorts[AT.OLD_USED]!];
    if (used !== old) {
      if (isGiven(old)) {
        const giving = shorts[AT.GIVING]!;
        if (giving < size) shorts[entryAt(giving) + IN.INFLIGHT] = 0;
        Atomics.store(shorts, AT.OLD_USED, used);
      } else Atomics.store(shorts, AT.USED, old);
    }
    const heads = this.heads();
    const taken = new Set<number>();
    for (const head of heads) this.recovered.set(head, this.entries(head, taken));
    this.collectFree(taken);
    const last = heads.at(-1);
    this.counter = last === undefined ? 0n : BigInt.asUintN(64, this.counterOf(last) + 1n);
    return { heads, out: taken.size, usedBase: shorts[AT.USED]! };
  }

  /** Puts the descriptors of an entry into `chain.words`. */
  restore(head: number, chain: Chain): void {
    chain.clear();
    chain.words.length = 0;
    chain.inflightEntries.length = 0;
    for (const entry of this.recovered.get(head)!) {
      chain.inflightEntries.push(entry);
      const at = entryAt(entry);
      const id = this.shorts[at + IN.ID]!;
      chain.id = id;
      const byte = at * 2;
      const address = byte + IN.ADDRESS * 2;
      chain.words.push(
        this.bytes.readInt32LE(address),
        this.bytes.readInt32LE(address + 4),
        this.bytes.readInt32LE(byte + IN.LENGTH * 2),
        id | (this.shorts[at + IN.FLAGS]! << 16),
      );
    }
    this.recovered.delete(head);
  }

  taken(chain: Chain): void {
    const { words, inflightEntries } = chain;
    const number = words.length / 4;
    inflightEntries.length = 0;
    // A guest with more out than its ring holds breaks its own rules: what is beyond is not done again.
    if (number > this.free.length) return;
    for (let i = 0; i < number; i++) inflightEntries.push(this.free.pop()!);
    let next = 0;
    for (let i = number - 1; i >= 0; i--) {
      const entry = inflightEntries[i]!;
      const at = entryAt(entry);
      const byte = at * 2;
      this.shorts[at + IN.NEXT] = next;
      this.shorts[at + IN.ID] = words[i * 4 + 3]! & 0xffff;
      this.shorts[at + IN.FLAGS] = words[i * 4 + 3]! >>> 16;
      this.bytes.writeInt32LE(words[i * 4 + 2]!, byte + IN.LENGTH * 2);
      this.bytes.writeInt32LE(words[i * 4]!, byte + IN.ADDRESS * 2);
      this.bytes.writeInt32LE(words[i * 4 + 1]!, byte + IN.ADDRESS * 2 + 4);
      next = entry;
    }
    const head = entryAt(next);
    this.shorts[head + IN.NUMBER] = number;
    this.bytes.writeBigUInt64LE(this.counter, (head + IN.COUNTER) * 2);
    this.counter = BigInt.asUintN(64, this.counter + 1n);
    Atomics.store(this.shorts, head + IN.INFLIGHT, 1);
  }

  giving({ inflightEntries }: Chain, usedBase: number): void {
    this.shorts[AT.GIVING] = inflightEntries[0] ?? NONE;
    Atomics.store(this.shorts, AT.USED, usedBase);
  }

  given({ inflightEntries }: Chain, usedBase: number): void {
    for (const entry of inflightEntries) this.free.push(entry);
    const head = inflightEntries[0];
    if (head !== undefined) Atomics.store(this.shorts, entryAt(head) + IN.INFLIGHT, 0);
    Atomics.store(this.shorts, AT.OLD_USED, usedBase);
  }

  /** Where the ring begins next time, the front-end knows from here on. */
  stopped(): void {
    Atomics.store(this.shorts, AT.VERSION, 0);
  }

  private heads(): number[] {
    const heads: number[] = [];
    for (let entry = 0; entry < this.size; entry++) {
      if (this.shorts[entryAt(entry) + IN.INFLIGHT] === 1) heads.push(entry);
    }
    return heads.sort((a, b) => (this.counterOf(a) < this.counterOf(b) ? -1 : 1));
  }

  /** @param taken of all chains so far, to which these are added: an entry is of one chain */
  private entries(head: number, taken: Set<number>): number[] {
    const found: number[] = [];
    const number = this.shorts[entryAt(head) + IN.NUMBER]!;
    let entry = head;
    do {
      if (entry >= this.size || taken.has(entry)) {
        throw new RawstorError('INVALID', 'what the in-flight area says was taken is no set of chains');
      }
      taken.add(entry);
      found.push(entry);
      entry = this.shorts[entryAt(entry) + IN.NEXT]!;
    } while (found.length < number);
    return found;
  }

  private collectFree(taken: ReadonlySet<number>): void {
    this.free = [];
    for (let entry = this.size - 1; entry >= 0; entry--) if (!taken.has(entry)) this.free.push(entry);
  }

  private counterOf(head: number): bigint {
    return this.bytes.readBigUInt64LE((entryAt(head) + IN.COUNTER) * 2);
  }
}

/** In shorts. */
function entryAt(entry: number): number {
  return HEADER_SHORTS + entry * ENTRY_SHORTS;
}
