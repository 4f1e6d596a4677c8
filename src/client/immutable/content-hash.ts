import { createHash, type Hash } from 'node:crypto';
import { RawstorError } from '../../common/errors.js';
import { MiB } from '../../common/units.js';

/** What is hashed by itself; the last piece of what was written in one go is shorter. */
export const HASH_PIECE_BYTES = 8 * MiB;
const DIGEST_BYTES = 32;
/** With more pieces than this a row keeps only the hash of the whole. */
const PIECES_KEPT = 4096;

/** SHA-256 of a content: of its pieces, and over the digests of those. */
export interface ContentHash {
  /** SHA-256 over the digests of all pieces, base64. */
  readonly root: string;
  /** Lengths of the pieces as runs `[count, bytes]`. */
  readonly runs: readonly (readonly [number, number])[];
  /** Their digests, one behind the other; null where they are too many. */
  readonly digests: Uint8Array | null;
}

/** Hashes a content as it streams by. */
export class ContentHasher {
  private readonly digests: Buffer[] = [];
  private readonly lengths: number[] = [];
  private readonly nextBytes: () => number;
  private hash: Hash = createHash('sha256');
  private bytes = 0;
  private wholeBytes: number;

  /** @param nextBytes length of the piece after this one, called for each */
  constructor(nextBytes: () => number = () => HASH_PIECE_BYTES) {
    this.nextBytes = nextBytes;
    this.wholeBytes = nextBytes();
  }

  /** @returns digests of the pieces that end in these bytes */
  update(bytes: Uint8Array): Buffer[] {
    const ended: Buffer[] = [];
    for (let at = 0; at < bytes.length; ) {
      const taken = bytes.subarray(at, at + this.wholeBytes - this.bytes);
      this.hash.update(taken);
      this.bytes += taken.length;
      at += taken.length;
      if (this.bytes === this.wholeBytes) ended.push(this.end());
    }
    return ended;
  }

  finish(): ContentHash {
    if (this.bytes > 0) this.end();
    return hashOf(this.digests, runsOf(this.lengths.map((bytes) => [1, bytes] as const)));
  }

  private end(): Buffer {
    const digest = this.hash.digest();
    this.digests.push(digest);
    this.lengths.push(this.bytes);
    this.hash = createHash('sha256');
    this.bytes = 0;
    this.wholeBytes = this.nextBytes();
    return digest;
  }
}

/** Of contents that become one; null where one of them has none, or not all that it takes. */
export function joinedHash(parts: readonly (ContentHash | null | undefined)[]): ContentHash | null {
  const digests: Uint8Array[] = [];
  const runs: (readonly [number, number])[] = [];
  for (const part of parts) {
    if (part?.digests == null) return null;
    digests.push(part.digests);
    runs.push(...part.runs);
  }
  return hashOf(digests, runsOf(runs));
}

/**
 * Passes a whole content on and compares it with its hash: a piece before its last bytes are passed on, so that no reader has a whole
 * piece that is not what was written. @throws RawstorError CHECKSUM
 */
export async function* verified(
  content: AsyncGenerator<Buffer, undefined>,
  { root, runs, digests }: ContentHash,
  name: string,
): AsyncGenerator<Buffer, undefined> {
  const lengths = lengthsOf(runs);
  const hasher = new ContentHasher(() => lengths.next().value ?? Number.POSITIVE_INFINITY);
  const sizeBytes = runs.reduce((sum, [count, bytes]) => sum + count * bytes, 0);
  let [piece, done] = [0, 0];
  try {
    for await (const bytes of content) {
      for (const digest of hasher.update(bytes)) {
        const at = piece++ * DIGEST_BYTES;
        if (digests !== null && !digest.equals(digests.subarray(at, at + DIGEST_BYTES)))
          throw wrong(name, piece - 1);
      }
      done += bytes.length;
      if (done === sizeBytes && hasher.finish().root !== root) throw wrong(name, null);
      yield bytes;
    }
  } finally {
    await content.return(undefined);
  }
  if (done !== sizeBytes) throw wrong(name, null);
}

function wrong(name: string, piece: number | null): RawstorError {
  const what = piece === null ? 'the content' : `piece ${piece} of the content`;
  return new RawstorError('CHECKSUM', `${what} is not what was written`, { where: name });
}

function* lengthsOf(runs: ContentHash['runs']): Generator<number, undefined> {
  for (const [count, bytes] of runs) for (let i = 0; i < count; i++) yield bytes;
}

function runsOf(runs: readonly (readonly [number, number])[]): [number, number][] {
  const found: [number, number][] = [];
  for (const [count, bytes] of runs) {
    const last = found.at(-1);
    if (last?.[1] === bytes) last[0] += count;
    else found.push([count, bytes]);
  }
  return found;
}

function hashOf(digests: readonly Uint8Array[], runs: ContentHash['runs']): ContentHash {
  const all = Buffer.concat(digests);
  const root = createHash('sha256').update(all).digest('base64');
  return { root, runs, digests: all.length > PIECES_KEPT * DIGEST_BYTES ? null : all };
}
