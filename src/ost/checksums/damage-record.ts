import { idOfKey, parseDamageKey } from '../record-codec.js';

const SUM_BYTES = 4;

/** The value of a record of damage: the checksum that the block should have, or one byte 0 where it is not known. */
export function encodeSum(sum: number | null): Buffer {
  const value = Buffer.alloc(sum === null ? 1 : SUM_BYTES);
  if (sum !== null) value.writeUInt32LE(sum, 0);
  return value;
}

export function decodeDamage(key: Buffer, value: Buffer) {
  const sum = value.length === SUM_BYTES ? value.readUInt32LE(0) : null;
  return { objectId: idOfKey(key), ...parseDamageKey(key), sum };
}
