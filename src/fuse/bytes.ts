/** 64-bit integers of the protocol as numbers: ids are ours and small, sizes and offsets end below 2^53. */

const TWO32 = 4294967296;

/** Above 2^53 it is not exact, and too large for whatever it is. */
export function readU64(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * TWO32;
}

export function writeU64(bytes: Buffer, at: number, value: number): void {
  bytes.writeUInt32LE(value % TWO32, at);
  bytes.writeUInt32LE(Math.floor(value / TWO32), at + 4);
}

/** Seconds since 1970, which may be before. */
export function readI64(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at) + bytes.readInt32LE(at + 4) * TWO32;
}

export function writeI64(bytes: Buffer, at: number, value: number): void {
  const high = Math.floor(value / TWO32);
  bytes.writeUInt32LE(value - high * TWO32, at);
  bytes.writeInt32LE(high, at + 4);
}
