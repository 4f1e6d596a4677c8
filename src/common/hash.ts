/**
 * Integer hashing that gives the same bits on every machine and in every language: placement depends on it,
 * so it never changes. Words are unsigned 32-bit numbers.
 */

/** The finalizer of MurmurHash3: every input bit reaches every output bit. */
export function mix32(word: number): number {
  let z = word;
  z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
  z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
  return (z ^ (z >>> 16)) >>> 0;
}

/** Bytes (a multiple of four) to one word; another seed gives an independent one. */
export function hashBytes(bytes: Uint8Array, seed: number): number {
  let hash = seed >>> 0;
  for (let at = 0; at < bytes.length; at += 4) {
    const word = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
    hash = mix32((hash + 0x9e3779b9) ^ mix32(word));
  }
  return hash;
}

const POWERS_OF_TWO: number[] = [1];
for (let i = 1; i <= 32; i++) POWERS_OF_TWO.push(POWERS_OF_TWO[i - 1]! * 2);
/** 1, 1/3, 1/5, ... of the series below; the thirteenth is past the twelfth decimal. */
const SERIES = Array.from({ length: 13 }, (_, i) => 1 / (2 * i + 1));

/**
 * -ln((word + 1/2) / 2^32): exponentially distributed for a uniform word, good to 1e-12. Made of IEEE
 * additions and multiplications only, which are the same everywhere; Math.log may differ in its last bit.
 */
export function negativeLog(word: number): number {
  const exponent = 32 - Math.clz32(word);
  const mantissa = ((word >>> 0) + 0.5) / POWERS_OF_TWO[exponent]!;
  // ln m = 2 (s + s^3/3 + s^5/5 + ...) with s = (m - 1) / (m + 1), which is within a third of 0 here.
  const s = (mantissa - 1) / (mantissa + 1);
  const square = s * s;
  let sum = 0;
  for (let i = SERIES.length - 1; i >= 0; i--) sum = sum * square + SERIES[i]!;
  return (32 - exponent) * Math.LN2 - 2 * s * sum;
}
