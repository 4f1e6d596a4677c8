import { createHash } from 'node:crypto';
import { S3Error } from './errors.js';
import { chunkSignature, type Signed, sameSignature, sha256Hex } from './sigv4.js';

/** How the chunks of a streamed body are signed; null: they are not. */
export interface ChunkSigning {
  readonly signed: Signed;
  readonly key: Uint8Array;
}

const LINE_BYTES = 16 * 1024;
const CHUNK_BYTES = 1024 ** 3;
const TRAILER_LINES = 32;

const broken = (what: string) => new S3Error('IncompleteBody', `The streamed body is malformed: ${what}.`);

/**
 * Content-Encoding aws-chunked (Amazon S3 API reference, "Transferring Payload in Multiple Chunks"): `SIZE[;chunk-signature=S]`,
 * data, ..., `0...`, then header lines of a trailer. Gives data on as it comes; a wrong signature ends it before the end is told.
 * @param trailers gets the lines of the trailer
 * @throws S3Error IncompleteBody, SignatureDoesNotMatch
 */
export async function* decodeChunks(
  body: AsyncIterable<Buffer>,
  signing: ChunkSigning | null,
  trailers: Map<string, string> | null,
): AsyncGenerator<Buffer, undefined> {
  const input = new Input(body);
  let before = signing?.signed.signature ?? '';
  const check = (kind: 'PAYLOAD' | 'TRAILER', hash: string, given: string | undefined) => {
    if (signing === null) return;
    const wanted = chunkSignature(kind, signing.signed, before, hash, signing.key);
    if (given === undefined || !sameSignature(wanted, given)) {
      throw new S3Error('SignatureDoesNotMatch', 'The signature of a chunk does not match.');
    }
    before = wanted;
  };
  for (;;) {
    const [sizeText = '', ...extensions] = (await input.line()).split(';');
    const size = Number.parseInt(sizeText, 16);
    if (!/^[0-9a-fA-F]{1,8}$/.test(sizeText.trim()) || size > CHUNK_BYTES) throw broken('no size of a chunk');
    const signature = extensions
      .map((one) => /^\s*chunk-signature=([0-9a-f]{64})$/.exec(one)?.[1])
      .find(Boolean);
    const hash = signing === null ? null : createHash('sha256');
    for (let left = size; left > 0; ) {
      const piece = await input.take(left);
      hash?.update(piece);
      left -= piece.length;
      yield piece;
    }
    if (hash !== null) check('PAYLOAD', hash.digest('hex'), signature);
    if (size === 0) break;
    if ((await input.line()) !== '') throw broken('no line end after a chunk');
  }
  let canonical = '';
  let signature: string | undefined;
  let lines = 0;
  for (let line = await input.lastLine(); line !== ''; line = await input.lastLine()) {
    const at = line.indexOf(':');
    if (at < 1) throw broken('a line of the trailer is no header');
    if (++lines > TRAILER_LINES) throw broken('the trailer is too long');
    const [name, value] = [line.slice(0, at).trim().toLowerCase(), line.slice(at + 1).trim()];
    if (name === 'x-amz-trailer-signature') signature = value;
    else {
      canonical += `${name}:${value}\n`;
      trailers?.set(name, value);
    }
  }
  if (trailers !== null && signing !== null) check('TRAILER', sha256Hex(canonical), signature);
}

/** Bytes of a stream, by lines and by lengths. */
class Input {
  private readonly source: AsyncIterator<Buffer>;
  private rest: Buffer = Buffer.alloc(0);

  constructor(body: AsyncIterable<Buffer>) {
    this.source = body[Symbol.asyncIterator]();
  }

  /** At least a byte, at most so many. */
  async take(most: number): Promise<Buffer> {
    if (this.rest.length === 0) this.rest = await this.more();
    if (this.rest.length === 0) throw broken('it ends in a chunk');
    const taken = this.rest.subarray(0, most);
    this.rest = this.rest.subarray(taken.length);
    return taken;
  }

  async line(): Promise<string> {
    const line = await this.lastLine();
    if (line === '' && this.rest.length === 0) {
      this.rest = await this.more();
      if (this.rest.length === 0) throw broken('it ends before the last chunk');
    }
    return line;
  }

  /** Without its end; '' at the end of the stream too. */
  async lastLine(): Promise<string> {
    for (;;) {
      const end = this.rest.indexOf(10);
      if (end >= 0) {
        const line = this.rest.toString('latin1', 0, end).replace(/\r$/, '');
        this.rest = this.rest.subarray(end + 1);
        return line;
      }
      if (this.rest.length > LINE_BYTES) throw broken('a line is too long');
      const more = await this.more();
      if (more.length === 0) {
        const line = this.rest.toString('latin1');
        this.rest = more;
        return line;
      }
      this.rest = this.rest.length === 0 ? more : Buffer.concat([this.rest, more]);
    }
  }

  private async more(): Promise<Buffer> {
    const { value, done } = await this.source.next();
    return done === true ? Buffer.alloc(0) : value;
  }
}
