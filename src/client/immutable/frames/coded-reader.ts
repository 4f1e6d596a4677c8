import { RawstorError } from '../../../common/errors.js';
import { KiB } from '../../../common/units.js';
import { decompress, PLAIN_METHOD } from './codec.js';
import { type Coding, type Stream, streamsOf } from './coding.js';
import { ENTRY_BYTES, entryAt, frameCount, HEADER_BYTES, indexBytes, isHeader, TAG_BYTES } from './layout.js';
import { FrameSeal } from './seal.js';

/** Frames of one content that are opened ahead of who takes them. */
const AHEAD = 8;
/** A stream that is no longer is read in one go, index and all. */
const AT_ONCE_BYTES = 256 * KiB;

/** A range of what is stored, in order. */
export type ReadStored = (from: number, to: number) => AsyncGenerator<Buffer, undefined>;

export interface CodedRead {
  readonly stored: ReadStored;
  readonly coding: Coding;
  /** Of the bucket; null where nobody has it. */
  readonly key: Uint8Array | null;
  /** For messages. */
  readonly name: string;
}

/**
 * A range of a content that is stored in frames, in order. Only the frames that have a part of it are read.
 * @throws RawstorError CHECKSUM for what was not written so, DENIED without the key, NOT_SUPPORTED
 */
export async function* readCoded(
  read: CodedRead,
  from: number,
  to: number,
): AsyncGenerator<Buffer, undefined> {
  if (read.coding.salts !== null && read.key === null) {
    throw new RawstorError('DENIED', 'the content is encrypted: it takes the key of its bucket', {
      where: read.name,
      hint: 'name the file that it is in: --key-file or --passphrase-file [BUCKET=]PATH',
    });
  }
  for (const stream of streamsOf(read.coding, from, to)) {
    const start = Math.max(from - stream.plainAt, 0);
    const end = Math.min(to - stream.plainAt, stream.plainBytes);
    yield* readStream(read, stream, start, end);
  }
}

async function* readStream(
  read: CodedRead,
  stream: Stream,
  from: number,
  to: number,
): AsyncGenerator<Buffer, undefined> {
  const { frameBytes } = read.coding;
  const [first, last] = [Math.floor(from / frameBytes), Math.ceil(to / frameBytes) - 1];
  const seal = stream.salt === null ? null : new FrameSeal(read.key!, stream.salt, stream.plainBytes);
  const queue: Promise<Buffer>[] = [];
  let taken = first;
  const cut = (plain: Buffer): Buffer => {
    const at = taken++ * frameBytes;
    return plain.subarray(Math.max(from - at, 0), Math.min(to - at, plain.length));
  };
  try {
    for await (const { number, method, bytes } of framesOf(read, stream, first, last)) {
      const length = Math.min(frameBytes, stream.plainBytes - number * frameBytes);
      const plain = opened(seal, number, method, bytes, length, read.name);
      // Its failure is seen when its turn comes.
      plain.catch(() => {});
      queue.push(plain);
      if (queue.length >= AHEAD) yield cut(await queue.shift()!);
    }
    for (let head = queue.shift(); head !== undefined; head = queue.shift()) yield cut(await head);
  } finally {
    await Promise.allSettled(queue);
  }
}

interface StoredFrame {
  readonly number: number;
  readonly method: number;
  readonly bytes: Buffer;
}

async function* framesOf(
  { stored, coding, name }: CodedRead,
  stream: Stream,
  first: number,
  last: number,
): AsyncGenerator<StoredFrame, undefined> {
  const { storedAt, storedBytes, plainBytes, salt } = stream;
  const { frameBytes } = coding;
  const framesAt = indexBytes(frameCount(plainBytes, frameBytes));
  if (framesAt > storedBytes) throw wrong(name, 'its index is longer than what is stored');
  const small = storedBytes <= AT_ONCE_BYTES;
  // The entry before the first one says where that begins; before the first of all is the header.
  const indexFrom = small ? 0 : first === 0 ? 0 : HEADER_BYTES + (first - 1) * ENTRY_BYTES;
  const indexTo = small ? storedBytes : indexBytes(last + 1);
  const index = await gathered(stored(storedAt + indexFrom, storedAt + indexTo), indexTo - indexFrom, name);
  if (indexFrom === 0 && !isHeader(index, plainBytes, frameBytes))
    throw wrong(name, 'there is no header of frames');
  const entry = (number: number) => entryAt(index, HEADER_BYTES + number * ENTRY_BYTES - indexFrom);
  const most = (number: number) =>
    Math.min(frameBytes, plainBytes - number * frameBytes) + (salt === null ? 0 : TAG_BYTES);
  const start = first === 0 ? framesAt : entry(first - 1).end;
  let end = start;
  for (let number = first; number <= last; number++) {
    const next = entry(number).end;
    if (next <= end || next - end > most(number) || next > storedBytes || end < framesAt)
      throw wrong(name, `the place of frame ${number} cannot be`);
    end = next;
  }
  const source = small ? null : stored(storedAt + start, storedAt + end);
  const reader = new ByteReader(source ?? once(index.subarray(start, end)));
  try {
    let at = start;
    for (let number = first; number <= last; number++) {
      const { end: next, method } = entry(number);
      const bytes = await reader.take(next - at);
      if (bytes === null) throw wrong(name, `frame ${number} ends too soon`);
      at = next;
      yield { number, method, bytes };
    }
  } finally {
    await source?.return(undefined);
  }
}

async function opened(
  seal: FrameSeal | null,
  number: number,
  method: number,
  bytes: Buffer,
  length: number,
  name: string,
): Promise<Buffer> {
  const inner = seal === null ? bytes : seal.open(number, method, bytes);
  if (inner === null) throw wrong(name, `frame ${number} is not what was sealed there`);
  const plain = method === PLAIN_METHOD ? inner : await decompress(method, inner, length);
  if (plain?.length === length) return plain;
  throw wrong(name, `frame ${number} does not open to what it was`);
}

/** Takes so many bytes at a time of what comes in pieces. */
class ByteReader {
  private readonly source: AsyncIterator<Buffer> | Iterator<Buffer>;
  private held: Buffer = Buffer.alloc(0);

  constructor(source: AsyncGenerator<Buffer, undefined> | Iterator<Buffer>) {
    this.source = source;
  }

  async take(length: number): Promise<Buffer | null> {
    const pieces: Buffer[] = [];
    for (let left = length; left > 0; ) {
      if (this.held.length === 0) {
        const { value, done } = await this.source.next();
        if (done === true) return null;
        this.held = value;
        continue;
      }
      const piece = this.held.subarray(0, left);
      this.held = this.held.subarray(piece.length);
      left -= piece.length;
      pieces.push(piece);
    }
    return pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces);
  }
}

function once(bytes: Buffer): Iterator<Buffer> {
  return [bytes].values();
}

async function gathered(
  content: AsyncGenerator<Buffer, undefined>,
  length: number,
  name: string,
): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const bytes of content) pieces.push(bytes);
  const whole = pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces);
  if (whole.length !== length) throw wrong(name, 'what is stored ends too soon');
  return whole;
}

function wrong(name: string, what: string): RawstorError {
  return new RawstorError('CHECKSUM', `the content is not what was written: ${what}`, { where: name });
}
