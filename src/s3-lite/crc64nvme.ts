/**
 * CRC-64/NVME (NVM Express command set specification, section 5.2.1.3.4) in two halves of 32 bits, eight tables wide: JavaScript has
 * no fast integers of 64 bits. Table t of byte b is at 512 t + 2 b: low half, high half.
 */
const [POLY_LOW, POLY_HIGH] = [0xac4bc9b5, 0x9a6c9329];
const TABLES = buildTables();

function buildTables(): Int32Array {
  const tables = new Int32Array(8 * 512);
  for (let i = 0; i < 256; i++) {
    let [low, high] = [i, 0];
    for (let bit = 0; bit < 8; bit++) {
      const odd = low & 1;
      low = (low >>> 1) | (high << 31);
      high >>>= 1;
      if (odd === 0) continue;
      low ^= POLY_LOW;
      high ^= POLY_HIGH;
    }
    tables[2 * i] = low;
    tables[2 * i + 1] = high;
  }
  for (let at = 512; at < tables.length; at += 2) {
    const [low, high] = [tables[at - 512]!, tables[at - 511]!];
    const of = 2 * (low & 0xff);
    tables[at] = ((low >>> 8) | (high << 24)) ^ tables[of]!;
    tables[at + 1] = (high >>> 8) ^ tables[of + 1]!;
  }
  return tables;
}

/** A sum over bytes as they come. */
export class Crc64Nvme {
  private low = -1;
  private high = -1;

  update(bytes: Uint8Array): void {
    const t = TABLES;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const whole = bytes.length - (bytes.length % 8);
    let { low, high } = this;
    let at = 0;
    for (; at < whole; at += 8) {
      const one = low ^ view.getInt32(at, true);
      const two = high ^ view.getInt32(at + 4, true);
      const a = 3584 + 2 * (one & 0xff);
      const b = 3072 + 2 * ((one >>> 8) & 0xff);
      const c = 2560 + 2 * ((one >>> 16) & 0xff);
      const d = 2048 + 2 * (one >>> 24);
      const e = 1536 + 2 * (two & 0xff);
      const f = 1024 + 2 * ((two >>> 8) & 0xff);
      const g = 512 + 2 * ((two >>> 16) & 0xff);
      const h = 2 * (two >>> 24);
      low = t[a]! ^ t[b]! ^ t[c]! ^ t[d]! ^ t[e]! ^ t[f]! ^ t[g]! ^ t[h]!;
      high = t[a + 1]! ^ t[b + 1]! ^ t[c + 1]! ^ t[d + 1]! ^ t[e + 1]! ^ t[f + 1]! ^ t[g + 1]! ^ t[h + 1]!;
    }
    for (; at < bytes.length; at++) {
      const of = 2 * ((low ^ bytes[at]!) & 0xff);
      low = ((low >>> 8) | (high << 24)) ^ t[of]!;
      high = (high >>> 8) ^ t[of + 1]!;
    }
    this.low = low;
    this.high = high;
  }

  /** Big endian. */
  digest(): Buffer {
    const bytes = Buffer.alloc(8);
    bytes.writeInt32BE(~this.high, 0);
    bytes.writeInt32BE(~this.low, 4);
    return bytes;
  }
}
