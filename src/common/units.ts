import { RawstorError } from './errors.js';

export const KiB = 1024;
export const MiB = 1024 * KiB;
export const GiB = 1024 * MiB;
export const TiB = 1024 * GiB;

const SUFFIXES: Record<string, number> = { '': 1, B: 1, K: KiB, M: MiB, G: GiB, T: TiB, P: 1024 * TiB };

/**
 * `10G`, `512M`, `1.5T`, `4096`: binary units as qemu-img reads them.
 * @throws RawstorError USAGE for anything else.
 */
export function parseSizeBytes(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([BKMGTP]?)(?:iB)?$/i.exec(text.trim());
  const factor = match ? SUFFIXES[(match[2] ?? '').toUpperCase()] : undefined;
  const sizeBytes = match && factor !== undefined ? Number(match[1]) * factor : Number.NaN;
  if (sizeBytes > Number.MAX_SAFE_INTEGER) {
    throw new RawstorError('USAGE', `'${text}' is larger than anything here`, {
      hint: 'volumes have at most 4 PiB',
    });
  }
  if (!Number.isSafeInteger(sizeBytes)) {
    throw new RawstorError('USAGE', `'${text}' is not a size`, {
      hint: 'write a whole number of bytes, or a number with K, M, G, T or P (binary), such as 10G',
    });
  }
  return sizeBytes;
}

/** 10737418240 -> `10 GiB`; keeps one decimal where it says something. */
export function formatSizeBytes(sizeBytes: number): string {
  const names = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let value = sizeBytes;
  let unit = 0;
  while (Math.abs(value) >= 1024 && unit < names.length - 1) {
    value /= 1024;
    unit++;
  }
  const digits = unit === 0 || value === Math.round(value) ? 0 : 1;
  return `${value.toFixed(digits)} ${names[unit]}`;
}

export function isPowerOfTwo(value: number): boolean {
  return value > 0 && Number.isInteger(Math.log2(value));
}

/**
 * `30`, `30s`, `500ms`, `2m`, `1h` to milliseconds; 0 where it is allowed.
 * @throws RawstorError USAGE for anything else.
 */
export function parseDurationMs(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|)$/.exec(text);
  const factor = { ms: 1, s: 1000, '': 1000, m: 60_000, h: 3_600_000 }[match?.[2] ?? ''];
  const value = match === null || factor === undefined ? Number.NaN : Number(match[1]) * factor;
  if (!(value >= 0 && value < 2 ** 31)) {
    throw new RawstorError('USAGE', `'${text}' is not a time`, {
      hint: 'write seconds, or a number with ms, s, m or h, such as 30s',
    });
  }
  return value;
}
