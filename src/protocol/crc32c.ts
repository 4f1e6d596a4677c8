/**
 * CRC-32C (Castagnoli, RFC 3720 appendix B.4) in JavaScript, four tables wide: for headers of some tens of
 * bytes, where a native call costs more than the sum. Payloads use the addon.
 */
const TABLES = buildTables();

function buildTables(): Uint32Array {
  const tables = new Uint32Array(4 * 256);
  for (let i = 0; i < 256; i++) {
    let crc = i;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
    tables[i] = crc >>> 0;
  }
  for (let i = 0; i < 256; i++) {
    for (let table = 1; table < 4; table++) {
      const before = tables[(table - 1) * 256 + i]!;
      tables[table * 256 + i] = ((before >>> 8) ^ tables[before & 0xff]!) >>> 0;
    }
  }
  return tables;
}

export function crc32c(bytes: Buffer, at: number, lengthBytes: number): number {
  let crc = 0xffffffff;
  const end = at + lengthBytes;
  const wide = end - (lengthBytes & 3);
  let i = at;
  for (; i < wide; i += 4) {
    crc ^= bytes.readInt32LE(i);
    crc =
      TABLES[768 + (crc & 0xff)]! ^
      TABLES[512 + ((crc >>> 8) & 0xff)]! ^
      TABLES[256 + ((crc >>> 16) & 0xff)]! ^
      TABLES[crc >>> 24]!;
  }
  for (; i < end; i++) crc = (crc >>> 8) ^ TABLES[(crc ^ bytes[i]!) & 0xff]!;
  return ~crc >>> 0;
}
