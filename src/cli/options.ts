import { canonicalAddress } from '../common/config.js';
import { RawstorError } from '../common/errors.js';
import { isId } from '../common/ids.js';
import { LIMITS } from '../common/limits.js';
import { formatSizeBytes, parseDurationMs, parseSizeBytes } from '../common/units.js';
import type { OptionSpec } from './command.js';

/** Of verbs that ask on a terminal before something is lost. */
export const YES: OptionSpec = { flags: '-y, --yes', help: 'do not ask', default: false };

/** Readers of option values; all throw RawstorError USAGE. */

export const size = (text: string): number => parseSizeBytes(text);

/** What a volume may have. `where`: what said it. @throws RawstorError USAGE */
export function checkVolumeSize(sizeBytes: number, where: string): void {
  if (sizeBytes === 0) {
    throw new RawstorError('USAGE', 'a volume of no size is not possible', {
      where,
      hint: `the smallest has a sector of ${LIMITS.sectorBytes} bytes`,
    });
  }
  if (sizeBytes % LIMITS.sectorBytes !== 0) {
    const up = (Math.floor(sizeBytes / LIMITS.sectorBytes) + 1) * LIMITS.sectorBytes;
    const message = `a size of ${sizeBytes} bytes is not whole sectors of ${LIMITS.sectorBytes}`;
    throw new RawstorError('USAGE', message, { where, hint: `the next size that is: ${up}` });
  }
  if (sizeBytes <= LIMITS.volumeSizeBytes) return;
  throw new RawstorError('USAGE', `a volume of ${formatSizeBytes(sizeBytes)} is too large`, {
    where,
    hint: `the largest has ${formatSizeBytes(LIMITS.volumeSizeBytes)}`,
  });
}

export function wholeNumber(minimum: number, maximum: number): (text: string) => number {
  return (text) => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= minimum && value <= maximum)) {
      throw new RawstorError('USAGE', `'${text}' is not a whole number from ${minimum} to ${maximum}`);
    }
    return value;
  };
}

export function id(text: string): string {
  if (isId(text)) return text;
  throw new RawstorError('USAGE', `'${text}' is not an id`, {
    hint: 'ids are UUIDs in lower case, such as 01a21277-fa4f-710f-b639-af8bd2b98684',
  });
}

export const port = wholeNumber(1, 65535);

/** A time above 0. */
export function durationMs(text: string): number {
  const value = parseDurationMs(text);
  if (value > 0) return value;
  throw new RawstorError('USAGE', `'${text}' is not a time`, {
    hint: 'write seconds, or a number with ms, s, m or h, such as 30s',
  });
}

export function address(text: string): string {
  const written = canonicalAddress(text);
  if (written !== null) return written;
  throw new RawstorError('USAGE', `'${text}' is not an address`, {
    hint: 'write tcp://HOST:PORT, HOST:PORT or unix:/PATH',
  });
}

/** An option that may be given several times, or once with commas. */
export function list<T>(parse: (text: string) => T): (text: string, before: unknown) => T[] {
  return (text, before) => [...((before as T[] | undefined) ?? []), ...text.split(',').map(parse)];
}

/** `host=a,rack=r1`, repeatable, to {host: 'a', rack: 'r1'}. */
export function labels(text: string, before: unknown): Record<string, string> {
  const found = { ...((before as Record<string, string> | undefined) ?? {}) };
  for (const part of text.split(',')) {
    const match = /^([A-Za-z0-9_.-]{1,64})=([^=]{1,255})$/.exec(part);
    if (match === null) {
      throw new RawstorError('USAGE', `'${part}' is not a label`, {
        hint: 'write NAME=VALUE, such as host=a',
      });
    }
    found[match[1]!] = match[2]!;
  }
  return found;
}
