/** Deeper than any message of the protocol; a decoder recurses for each level. */
const DEPTH_MAX = 32;

/** Of what a decoder is given: each value is an allocation, each array or map several, and a map grows costly with its keys. */
export interface MsgpackBounds {
  /** Keys of maps are values too. */
  readonly values: number;
  readonly containers: number;
  /** Keys of one map. */
  readonly keys: number;
}

/**
 * Why a decoder is not to see the bytes, or null: they are to be exactly one msgpack value without extensions, every
 * array and map of it as long as it says, and within the bounds. To be asked of bytes from elsewhere: a decoder
 * reserves what an array claims to hold, and a body of one mebibyte can claim more than there is memory, or hold a
 * million maps. Allocates nothing per value.
 */
export function faultOfMsgpack(bytes: Uint8Array, bounds: MsgpackBounds | null): string | null {
  const walk = new Walk(bytes, bounds);
  if (walk.value(0) === bytes.length) return null;
  return walk.beyond === null ? 'is not valid msgpack' : `holds too many ${walk.beyond}`;
}

const BROKEN = -1;

class Walk {
  /** Which bound ended the walk. */
  beyond: keyof MsgpackBounds | null = null;
  private readonly bytes: Uint8Array;
  private readonly bounds: MsgpackBounds | null;
  private values = 0;
  private containers = 0;

  constructor(bytes: Uint8Array, bounds: MsgpackBounds | null) {
    this.bytes = bytes;
    this.bounds = bounds;
  }

  /** The end of the value at `at`, or BROKEN. */
  value(at: number, depth = 0): number {
    if (at >= this.bytes.length) return BROKEN;
    const first = this.bytes[at]!;
    if (first < 0x80 || first >= 0xe0) return at + 1;
    if (first < 0x90) return this.map(at + 1, first & 0x0f, depth);
    if (first < 0xa0) return this.list(at + 1, first & 0x0f, depth);
    if (first < 0xc0) return this.within(at + 1 + (first & 0x1f));
    switch (first) {
      case 0xc0: // nil
      case 0xc2: // false
      case 0xc3: // true
        return at + 1;
      case 0xcc: // numbers, by their width
      case 0xd0:
        return this.within(at + 2);
      case 0xcd:
      case 0xd1:
        return this.within(at + 3);
      case 0xca:
      case 0xce:
      case 0xd2:
        return this.within(at + 5);
      case 0xcb:
      case 0xcf:
      case 0xd3:
        return this.within(at + 9);
      case 0xc4: // binary and text, by the width of their length
      case 0xd9:
        return this.within(at + 2 + this.number(at + 1, 1));
      case 0xc5:
      case 0xda:
        return this.within(at + 3 + this.number(at + 1, 2));
      case 0xc6:
      case 0xdb:
        return this.within(at + 5 + this.number(at + 1, 4));
      case 0xdc: // arrays and maps
        return this.list(at + 3, this.number(at + 1, 2), depth);
      case 0xdd:
        return this.list(at + 5, this.number(at + 1, 4), depth);
      case 0xde:
        return this.map(at + 3, this.number(at + 1, 2), depth);
      case 0xdf:
        return this.map(at + 5, this.number(at + 1, 4), depth);
      default: // extensions, and 0xc1, which nothing is
        return BROKEN;
    }
  }

  private map(from: number, keys: number, depth: number): number {
    if (this.bounds !== null && keys > this.bounds.keys) return this.goneBeyond('keys');
    return this.list(from, keys * 2, depth);
  }

  private list(from: number, count: number, depth: number): number {
    // Each takes a byte at least: a count beyond what is left is not walked for.
    if (depth >= DEPTH_MAX || count > this.bytes.length - from) return BROKEN;
    this.values += count;
    this.containers++;
    if (this.bounds !== null && this.values > this.bounds.values) return this.goneBeyond('values');
    if (this.bounds !== null && this.containers > this.bounds.containers)
      return this.goneBeyond('containers');
    let at = from;
    for (let i = 0; i < count && at !== BROKEN; i++) at = this.value(at, depth + 1);
    return at;
  }

  private goneBeyond(bound: keyof MsgpackBounds): number {
    this.beyond = bound;
    return BROKEN;
  }

  /** Big endian; 0 past the end, where `within` then says so. */
  private number(at: number, width: number): number {
    let value = 0;
    for (let i = 0; i < width; i++) value = value * 256 + (this.bytes[at + i] ?? 0);
    return value;
  }

  private within(end: number): number {
    return end <= this.bytes.length ? end : BROKEN;
  }
}
