import { RawstorError } from '../../../common/errors.js';
import { LIMITS } from '../../../common/limits.js';
import { type Extent, joined } from '../extent.js';
import type { Compression } from './codec.js';
import { streamMaxBytes } from './layout.js';
import { SALT_BYTES } from './seal.js';

/** How a content lies in its extents, when not as it is: streams of frames, one behind the other. Kept in rows of the catalog. */
export interface Coding {
  readonly frameBytes: number;
  /** Runs `[count, bytes of content, bytes stored]`. */
  readonly streams: readonly (readonly [number, number, number])[];
  /** What each stream's key is made with, 16 bytes each; null: not encrypted. */
  readonly salts: Uint8Array | null;
}

/** How a content is to be written. */
export interface WriteCoding {
  readonly compression: Compression | null;
  /** Of its bucket; null: not encrypted. */
  readonly key: Uint8Array | null;
}

export interface StoredContent {
  readonly extents: readonly Extent[];
  /** Null or absent: the extents are the content. */
  readonly coding?: Coding | null;
}

/** One stream of a content. */
export interface Stream {
  /** Of the content before it, and of what is stored before it. */
  readonly plainAt: number;
  readonly storedAt: number;
  readonly plainBytes: number;
  readonly storedBytes: number;
  readonly salt: Uint8Array | null;
}

/** Streams that have a part of the range. */
export function* streamsOf(
  { streams, salts }: Coding,
  from: number,
  to: number,
): Generator<Stream, undefined> {
  let [plainAt, storedAt, number] = [0, 0, 0];
  for (const [count, plainBytes, storedBytes] of streams) {
    for (let i = 0; i < count; i++, number++) {
      if (plainAt >= to) return;
      const salt = salts?.subarray(number * SALT_BYTES, (number + 1) * SALT_BYTES) ?? null;
      if (plainAt + plainBytes > from) yield { plainAt, storedAt, plainBytes, storedBytes, salt };
      plainAt += plainBytes;
      storedAt += storedBytes;
    }
  }
}

/** What a stream takes of a grid: whole blocks, and enough whatever comes. */
export function slotBytes(plainBytes: number): number {
  return Math.ceil(streamMaxBytes(plainBytes) / LIMITS.blockBytes) * LIMITS.blockBytes;
}

/**
 * Contents that become one, in order. Streams that lie in neighbouring slots of a grid become one extent: what is between them was never
 * written, and takes nothing.
 */
export function joinedContents(parts: readonly StoredContent[]): {
  extents: Extent[];
  coding: Coding | null;
} {
  const whole = parts.filter(({ extents }) => extents.length > 0);
  if (whole.every(({ coding }) => coding == null)) {
    return { extents: joined(whole.flatMap(({ extents }) => extents)), coding: null };
  }
  const extents: Extent[] = [];
  const streams: [number, number, number][] = [];
  const salts: Uint8Array[] = [];
  const [first] = whole;
  whole.forEach((part, i) => {
    const { coding } = part;
    if (coding == null || coding.frameBytes !== first!.coding?.frameBytes) throw mixed();
    if ((coding.salts === null) !== (first!.coding.salts === null)) throw mixed();
    if (coding.salts !== null) salts.push(coding.salts);
    const gap = gapBehind(part, whole[i + 1]);
    coding.streams.forEach(([count, plain, stored], at) => {
      const last = at === coding.streams.length - 1 ? gap : 0;
      if (last === 0) addRun(streams, count, plain, stored);
      else {
        addRun(streams, count - 1, plain, stored);
        addRun(streams, 1, plain, stored + last);
      }
    });
    extents.push(...part.extents.slice(0, -1));
    const end = part.extents.at(-1)!;
    extents.push({ ...end, length: end.length + gap });
  });
  const { frameBytes } = first!.coding!;
  return {
    extents: joined(extents),
    coding: { frameBytes, streams, salts: salts.length === 0 ? null : Buffer.concat(salts) },
  };
}

function gapBehind({ extents, coding }: StoredContent, next: StoredContent | undefined): number {
  const [one, other] = [extents[0]!, next?.extents[0]];
  const [run] = coding?.streams ?? [];
  if (extents.length !== 1 || coding?.streams.length !== 1 || run?.[0] !== 1) return 0;
  if (other === undefined || other.objectId !== one.objectId) return 0;
  return other.offset - one.offset === slotBytes(run[1]) ? slotBytes(run[1]) - one.length : 0;
}

function addRun(runs: [number, number, number][], count: number, plain: number, stored: number): void {
  if (count === 0) return;
  const last = runs.at(-1);
  if (last?.[1] === plain && last[2] === stored) last[0] += count;
  else runs.push([count, plain, stored]);
}

function mixed(): RawstorError {
  return new RawstorError('INTERNAL', 'the parts of one content are stored in different ways');
}
