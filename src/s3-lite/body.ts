import { createHash } from 'node:crypto';
import type { Caller } from './auth.js';
import { UNSIGNED } from './auth.js';
import { checkSum, checksumHeader, runningSum, wantedChecksum } from './checksums.js';
import { decodeChunks } from './chunked.js';
import { S3Error } from './errors.js';
import { inPieces } from './pieces.js';
import type { S3Request } from './request.js';
import type { Checksum } from './rows.js';

/** Largest body of a request that is XML. */
export const XML_BYTES = 2 * 1024 * 1024;
/** Largest content of one PUT, and of one part. */
export const PUT_BYTES = 5 * 1024 ** 3;

export interface ReadBody {
  /** Hex. */
  readonly md5: string;
  readonly checksum: Checksum | null;
}

/** How many bytes of content come. @throws S3Error MissingContentLength, EntityTooLarge, InvalidArgument */
export function contentLength(request: S3Request, most: number): number {
  const decoded = request.header('x-amz-decoded-content-length');
  const text = decoded ?? request.header('content-length');
  if (text === undefined) {
    throw new S3Error('MissingContentLength', 'You must provide the Content-Length HTTP header.');
  }
  if (!/^\d{1,15}$/.test(text))
    throw new S3Error('InvalidArgument', 'The length of the content is not a number.');
  const length = Number(text);
  if (length <= most) return length;
  throw new S3Error('EntityTooLarge', 'Your proposed upload exceeds the maximum allowed size', {
    ProposedSize: text,
    MaxSizeAllowed: String(most),
  });
}

/**
 * Hands the content on as it comes, and checks at its end what the request said of it: length, hash of the signature, signatures
 * of chunks, Content-MD5, checksum in a header or trailer. @param wanted null where a checksum that it names is of something else
 * @throws S3Error BadDigest, IncompleteBody, InvalidDigest, SignatureDoesNotMatch, XAmzContentSHA256Mismatch
 */
export async function readBody(
  request: S3Request,
  caller: Caller,
  length: number,
  take: (bytes: Buffer) => Promise<void> | void,
  wanted = wantedChecksum((name) => request.header(name)),
): Promise<ReadBody> {
  const givenMd5 = checkMd5(request.header('content-md5'));
  const md5 = createHash('md5');
  const sha256 = /^[0-9a-f]{64}$/.test(caller.payload) ? createHash('sha256') : null;
  const sum = wanted === null ? null : runningSum(wanted.name);
  const trailers = new Map<string, string>();
  let seen = 0;
  for await (const bytes of inPieces(contentOf(request, caller, trailers))) {
    seen += bytes.length;
    if (seen > length) break;
    md5.update(bytes);
    sha256?.update(bytes);
    sum?.update(bytes);
    await take(bytes);
  }
  if (seen !== length) {
    throw new S3Error(
      'IncompleteBody',
      'You did not provide the number of bytes specified by the Content-Length HTTP header.',
    );
  }
  if (sha256 !== null && sha256.digest('hex') !== caller.payload) {
    throw new S3Error(
      'XAmzContentSHA256Mismatch',
      "The provided 'x-amz-content-sha256' header does not match what was computed.",
    );
  }
  const digest = md5.digest();
  if (givenMd5 !== null && !digest.equals(givenMd5)) {
    throw new S3Error('BadDigest', 'The Content-MD5 you specified did not match what we received.');
  }
  if (wanted === null || sum === null) return { md5: digest.toString('hex'), checksum: null };
  const value = sum.digest();
  const told = wanted.inTrailer ? trailers.get(checksumHeader(wanted.name)) : wanted.value;
  if (wanted.inTrailer && told === undefined) {
    throw new S3Error('InvalidRequest', 'The trailer that x-amz-trailer announced did not come.');
  }
  if (wanted.inTrailer) checkSum(wanted.name, told!);
  if (told != null && told !== value) {
    throw new S3Error('BadDigest', `The ${wanted.name} you specified did not match what we received.`);
  }
  return { md5: digest.toString('hex'), checksum: { name: wanted.name, value, composite: false } };
}

/** A body that is small. @param wanted as of `readBody`. @throws S3Error as that does */
export async function readSmallBody(request: S3Request, caller: Caller, wanted?: null): Promise<Buffer> {
  const length = request.header('content-length') === undefined ? 0 : contentLength(request, XML_BYTES);
  const parts: Buffer[] = [];
  await readBody(request, caller, length, (bytes) => void parts.push(bytes), wanted);
  return Buffer.concat(parts);
}

function contentOf(request: S3Request, caller: Caller, trailers: Map<string, string>): AsyncIterable<Buffer> {
  const body = request.body.pieces();
  const { payload, signed, key } = caller;
  const signing = { signed, key };
  switch (payload) {
    case 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD':
      return decodeChunks(body, signing, null);
    case 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER':
      return decodeChunks(body, signing, trailers);
    case 'STREAMING-UNSIGNED-PAYLOAD-TRAILER':
      return decodeChunks(body, null, trailers);
  }
  if (payload === UNSIGNED || /^[0-9a-f]{64}$/.test(payload)) return body;
  throw new S3Error(
    'InvalidArgument',
    'x-amz-content-sha256 must be UNSIGNED-PAYLOAD, a valid sha256 value or a known STREAMING one.',
  );
}

function checkMd5(text: string | undefined): Buffer | null {
  if (text === undefined) return null;
  const bytes = Buffer.from(text, 'base64');
  if (bytes.length === 16 && bytes.toString('base64') === text) return bytes;
  throw new S3Error('InvalidDigest', 'The Content-MD5 you specified is not valid.');
}
