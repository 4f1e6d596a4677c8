/** Deeper than any message of the protocol; a decoder recurses for each level. */
const DEPTH_MAX = 32;

/**
 * Whether the bytes are exactly one msgpack value without extensions, every array and map of it as long as it
 * says. To be asked before a decoder sees bytes from elsewhere: it reserves what an array claims to hold, and a
 * body of one mebibyte can claim more than there is memory. Allocates nothing.
 */
export function isWholeMsgpack(bytes: Uint8Array): boolean {
  return new Walk(bytes).value(0) === bytes.length;
}

const BROKEN = -1;

class Walk {
  private readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  /** The end of the value at `at`, or BROKEN. */
  value(at: number, depth = 0): number {
    if (at >= this.bytes.length) return BROKEN;
    const first = this.bytes[at]!;
    if (first < 0x80 || first >= 0xe0) return at + 1;
    if (first < 0x90) return this.values(at + 1, (first & 0x0f) * 2, depth);
    if (first < 0xa0) return this.values(at + 1, first & 0x0f, depth);
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
        return this.values(at + 3, this.number(at + 1, 2), depth);
      case 0xdd:
        return this.values(at + 5, this.number(at + 1, 4), depth);
      case 0xde:
        return this.values(at + 3, this.number(at + 1, 2) * 2, depth);
      case 0xdf:
        return this.values(at + 5, this.number(at + 1, 4) * 2, depth);
      default: // extensions, and 0xc1, which nothing is
        return BROKEN;
    }
  }

  private values(from: number, count: number, depth: number): number {
    // Each takes a byte at least: a count beyond what is left is not walked for.
    if (depth >= DEPTH_MAX || count > this.bytes.length - from) return BROKEN;
    let at = from;
    for (let i = 0; i < count && at !== BROKEN; i++) at = this.value(at, depth + 1);
    return at;
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
