import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import { S3Error } from './errors.js';

/** AWS Signature Version 4 (Amazon S3 API reference, "Authenticating Requests"). */
export const ALGORITHM = 'AWS4-HMAC-SHA256';

export interface Credential {
  readonly keyId: string;
  readonly date: string;
  readonly region: string;
  readonly service: string;
}

/** What a request says of its signature. */
export interface Signed {
  readonly credential: Credential;
  readonly signedHeaders: readonly string[];
  readonly signature: string;
  /** `YYYYMMDDTHHMMSSZ` */
  readonly timestamp: string;
  /** Of a presigned URL, in seconds; null where headers are signed. */
  readonly expires: number | null;
}

export interface SignedRequest {
  readonly method: string;
  /** Decoded, or as the client sent it where that does not decode. */
  readonly path: string;
  readonly query: readonly (readonly [string, string])[];
  /** Values of a header, joined by commas. */
  header(name: string): string | undefined;
}

export const sha256Hex = (data: string | Uint8Array) => createHash('sha256').update(data).digest('hex');
const hmac = (key: string | Uint8Array, text: string) => createHmac('sha256', key).update(text).digest();

/** RFC 3986's unreserved characters stand for themselves. */
export function uriEncode(text: string, keepSlash = false): string {
  let encoded = '';
  for (const byte of Buffer.from(text, 'utf8')) {
    const char = String.fromCharCode(byte);
    if (/[A-Za-z0-9\-._~]/.test(char) || (keepSlash && char === '/')) encoded += char;
    else encoded += `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return encoded;
}

function canonicalQuery(query: SignedRequest['query']): string {
  return query
    .filter(([name]) => name !== 'X-Amz-Signature')
    .map(([name, value]) => [uriEncode(name), uriEncode(value)] as const)
    .sort(([a, x], [b, y]) => (a < b ? -1 : a > b ? 1 : x < y ? -1 : x > y ? 1 : 0))
    .map(([name, value]) => `${name}=${value}`)
    .join('&');
}

export function scopeOf({ date, region, service }: Credential): string {
  return `${date}/${region}/${service}/aws4_request`;
}

export function signingKey(secret: string, { date, region, service }: Credential): Buffer {
  return hmac(hmac(hmac(hmac(`AWS4${secret}`, date), region), service), 'aws4_request');
}

/** The signature that a request must have. */
export function signatureOf(
  request: SignedRequest,
  signed: Omit<Signed, 'signature'>,
  payloadHash: string,
  key: Uint8Array,
): string {
  const headers = signed.signedHeaders.map((name) => {
    const value = (request.header(name) ?? '').trim().replace(/ +/g, ' ');
    return `${name}:${value}\n`;
  });
  const canonical = Buffer.concat([
    Buffer.from(`${request.method}\n${uriEncode(request.path, true)}\n${canonicalQuery(request.query)}\n`),
    // The bytes that came: of a header each is a character.
    Buffer.from(headers.join(''), 'latin1'),
    Buffer.from(`\n${signed.signedHeaders.join(';')}\n${payloadHash}`),
  ]);
  const text = [ALGORITHM, signed.timestamp, scopeOf(signed.credential), sha256Hex(canonical)].join('\n');
  return hmac(key, text).toString('hex');
}

export const EMPTY_SHA256 = sha256Hex('');

/** The signature of a chunk of a streamed body, or of its trailer, from the one before it. */
export function chunkSignature(
  kind: 'PAYLOAD' | 'TRAILER',
  { timestamp, credential }: Pick<Signed, 'timestamp' | 'credential'>,
  before: string,
  dataHash: string,
  key: Uint8Array,
): string {
  const lines = [`${ALGORITHM}-${kind}`, timestamp, scopeOf(credential), before];
  if (kind === 'PAYLOAD') lines.push(EMPTY_SHA256);
  return hmac(key, [...lines, dataHash].join('\n')).toString('hex');
}

export function sameSignature(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}

/** From the Authorization header. @throws S3Error AuthorizationHeaderMalformed, InvalidRequest */
export function parseAuthorization(header: string, timestamp: string): Signed {
  const malformed = (what: string) =>
    new S3Error('AuthorizationHeaderMalformed', `The authorization header is malformed; ${what}.`);
  if (!header.startsWith(`${ALGORITHM} `) && !header.startsWith(`${ALGORITHM},`)) {
    throw new S3Error(
      'InvalidRequest',
      'The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.',
    );
  }
  const fields = new Map<string, string>();
  for (const part of header.slice(ALGORITHM.length).split(',')) {
    const at = part.indexOf('=');
    if (at > 0) fields.set(part.slice(0, at).trim(), part.slice(at + 1).trim());
  }
  const credential = parseCredential(fields.get('Credential') ?? '');
  if (credential === null) throw malformed('the Credential is not ID/DATE/REGION/s3/aws4_request');
  const signedHeaders = (fields.get('SignedHeaders') ?? '').split(';').filter((name) => name !== '');
  if (!signedHeaders.includes('host')) throw malformed('SignedHeaders lacks host');
  const signature = fields.get('Signature') ?? '';
  if (signature === '') throw malformed('the Signature is missing');
  return { credential, signedHeaders, signature, timestamp, expires: null };
}

/** From the query of a presigned URL. @throws S3Error AuthorizationQueryParametersError */
export function parsePresigned(query: ReadonlyMap<string, string>): Signed {
  const refuse = (what: string) => new S3Error('AuthorizationQueryParametersError', what);
  if (query.get('X-Amz-Algorithm') !== ALGORITHM) {
    throw refuse('X-Amz-Algorithm only supports "AWS4-HMAC-SHA256"');
  }
  const credential = parseCredential(query.get('X-Amz-Credential') ?? '');
  if (credential === null) throw refuse('Error parsing the X-Amz-Credential parameter.');
  const timestamp = query.get('X-Amz-Date') ?? '';
  const expires = Number(query.get('X-Amz-Expires') ?? 'none');
  if (!Number.isInteger(expires) || expires < 1 || expires > 604_800) {
    throw refuse('X-Amz-Expires must be between 1 and 604800 seconds');
  }
  const signedHeaders = (query.get('X-Amz-SignedHeaders') ?? '').split(';').filter((name) => name !== '');
  if (!signedHeaders.includes('host')) throw refuse('X-Amz-SignedHeaders must have host.');
  return { credential, signedHeaders, signature: query.get('X-Amz-Signature') ?? '', timestamp, expires };
}

function parseCredential(text: string): Credential | null {
  const parts = text.split('/');
  if (parts.length < 5) return null;
  const [date = '', region = '', service = '', end] = parts.slice(-4);
  const fits = /^\d{8}$/.test(date) && service === 's3' && end === 'aws4_request';
  return fits ? { keyId: parts.slice(0, -4).join('/'), date, region, service } : null;
}

/** @returns ms, NaN for what is none */
export function timeOf(timestamp: string): number {
  const found = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(timestamp);
  if (found === null) return Number.NaN;
  const [, year, month, day, hour, minute, second] = found;
  return Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
}
