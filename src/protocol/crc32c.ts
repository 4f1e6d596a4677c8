import { viewOf } from './view.js';

/**
 * CRC-32C (Castagnoli, RFC 3720 appendix B.4) in JavaScript, eight tables wide: for headers of some tens of
 * bytes, where a native call costs more than the sum. Payloads use the addon.
 */
const TABLES = buildTables();

function buildTables(): Int32Array {
  const tables = new Int32Array(8 * 256);
  for (let i = 0; i < 256; i++) {
    let crc = i;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
    tables[i] = crc;
  }
  for (let i = 0; i < 256; i++) {
    for (let table = 1; table < 8; table++) {
      const before = tables[(table - 1) * 256 + i]!;
      tables[table * 256 + i] = (before >>> 8) ^ tables[before & 0xff]!;
    }
  }
  return tables;
}

/** @param before the sum of what comes before these bytes */
export function crc32c(bytes: Buffer, at: number, lengthBytes: number, before = 0): number {
  return crc32cOfView(viewOf(bytes), at, lengthBytes, before);
}

export function crc32cOfView(view: DataView, at: number, lengthBytes: number, before = 0): number {
  let crc = ~before;
  const end = at + lengthBytes;
  let i = at;
  for (; i + 8 <= end; i += 8) {
    const low = crc ^ view.getInt32(i, true);
    const high = view.getInt32(i + 4, true);
    crc =
      TABLES[1792 + (low & 0xff)]! ^
      TABLES[1536 + ((low >>> 8) & 0xff)]! ^
      TABLES[1280 + ((low >>> 16) & 0xff)]! ^
      TABLES[1024 + (low >>> 24)]! ^
      TABLES[768 + (high & 0xff)]! ^
      TABLES[512 + ((high >>> 8) & 0xff)]! ^
      TABLES[256 + ((high >>> 16) & 0xff)]! ^
      TABLES[high >>> 24]!;
  }
  for (; i < end; i++) crc = (crc >>> 8) ^ TABLES[(crc ^ view.getUint8(i)) & 0xff]!;
  return ~crc >>> 0;
}
