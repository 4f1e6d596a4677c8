import { randomUUID } from 'node:crypto';
import { type IncomingHttpHeaders, request } from 'node:http';
import { CreateBucketCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import {
  chunkSignature,
  type Signed,
  sha256Hex,
  signatureOf,
  signingKey,
} from '../../../src/s3-lite/sigv4.js';
import { S3Rig } from './rig.js';

export const BUCKET = '/raw-bucket';

/** A gateway with that bucket, which has the object `there`. */
export async function startRawRig(): Promise<S3Rig> {
  const s3 = await S3Rig.start();
  const client = s3.client();
  await client.send(new CreateBucketCommand({ Bucket: 'raw-bucket' }));
  await client.send(new PutObjectCommand({ Bucket: 'raw-bucket', Key: 'there', Body: 'content' }));
  client.destroy();
  return s3;
}

/** Requests as no client of a library would send them: signed by hand, then made wrong. */
export interface RawOptions {
  readonly query?: string;
  readonly headers?: Record<string, string>;
  readonly body?: Buffer | string;
  /** x-amz-content-sha256; default: the hash of the body. Null: no such header. */
  readonly payload?: string | null;
  readonly keyId?: string;
  readonly secret?: string;
  readonly host?: string;
  /** Of the signature, ms from now. */
  readonly shiftMs?: number;
  /** The Authorization header as it would be, made another; null: none. */
  readonly authorization?: ((header: string) => string) | null;
  /** Headers that are sent and not signed. */
  readonly unsigned?: Record<string, string>;
  /** Signs chunks of these contents, and maybe a trailer; `spoil` changes what is sent. */
  readonly chunks?: readonly string[];
  readonly trailer?: Record<string, string>;
  readonly signChunks?: boolean;
  readonly spoil?: (body: string) => string;
}

export interface RawAnswer {
  readonly status: number;
  /** Of an error's XML, else ''. */
  readonly code: string;
  readonly text: string;
  readonly headers: IncomingHttpHeaders;
}

const stamp = (ms: number) => new Date(ms).toISOString().replace(/[-:]|\.\d+/g, '');

export async function raw(
  s3: S3Rig,
  method: string,
  path: string,
  options: RawOptions = {},
): Promise<RawAnswer> {
  const { query = '', keyId = s3.keyId, secret = s3.secret, host = `127.0.0.1:${s3.port}` } = options;
  const timestamp = stamp(Date.now() + (options.shiftMs ?? 0));
  const credential = { keyId, date: timestamp.slice(0, 8), region: 'us-east-1', service: 's3' };
  const text = Buffer.from(options.body ?? '');
  const payload = options.payload === undefined ? sha256Hex(text) : options.payload;
  const headers: Record<string, string> = { host, ...options.headers };
  if (options.chunks !== undefined) {
    headers['x-amz-decoded-content-length'] = String(
      options.chunks.reduce((sum, one) => sum + one.length, 0),
    );
  }
  if (payload !== null) headers['x-amz-content-sha256'] = payload;
  if (options.headers?.date === undefined && options.headers?.['x-amz-date'] !== '')
    headers['x-amz-date'] = timestamp;
  else delete headers['x-amz-date'];
  const signedHeaders = Object.keys(headers).sort();
  const signed: Omit<Signed, 'signature'> = { credential, signedHeaders, timestamp, expires: null };
  const key = signingKey(secret, credential);
  const parsed = [...new URLSearchParams(query)] as [string, string][];
  const asked = {
    method,
    path: decodeURIComponent(path),
    query: parsed,
    header: (name: string) => headers[name],
  };
  const signature = signatureOf(asked, signed, payload ?? '', key);
  const scope = `${keyId}/${credential.date}/us-east-1/s3/aws4_request`;
  const authorization = `AWS4-HMAC-SHA256 Credential=${scope}, SignedHeaders=${signedHeaders.join(';')}, Signature=${signature}`;
  if (options.authorization !== null) {
    headers.authorization = options.authorization?.(authorization) ?? authorization;
  }
  const body = options.chunks === undefined ? text : Buffer.from(chunked(options, signed, signature, key));
  return send(
    s3,
    method,
    `${path}${query === '' ? '' : `?${query}`}`,
    { ...headers, ...options.unsigned },
    body,
  );
}

function chunked(
  { chunks = [], trailer, signChunks = true, spoil = (body) => body }: RawOptions,
  signed: Omit<Signed, 'signature'>,
  signature: string,
  key: Buffer,
): string {
  let before = signature;
  let body = '';
  for (const chunk of [...chunks, '']) {
    before = chunkSignature('PAYLOAD', signed, before, sha256Hex(chunk), key);
    const extension = signChunks ? `;chunk-signature=${before}` : '';
    body += `${chunk.length.toString(16)}${extension}\r\n`;
    if (chunk !== '') body += `${chunk}\r\n`;
  }
  if (trailer === undefined) return spoil(`${body}\r\n`);
  const lines = Object.entries(trailer).map(([name, value]) => `${name}:${value}\n`);
  const own = chunkSignature('TRAILER', signed, before, sha256Hex(lines.join('')), key);
  const last = signChunks ? `x-amz-trailer-signature:${own}\r\n` : '';
  return spoil(`${body}${lines.join('').replaceAll('\n', '\r\n')}${last}\r\n`);
}

export function send(
  s3: Pick<S3Rig, 'port'>,
  method: string,
  path: string,
  headers: Record<string, string>,
  body: Buffer = Buffer.alloc(0),
): Promise<RawAnswer> {
  return new Promise((resolve, reject) => {
    const length =
      headers['transfer-encoding'] === undefined ? { 'content-length': String(body.length) } : {};
    const all = { ...length, ...headers };
    const http = request(
      { host: '127.0.0.1', port: s3.port, method, path, headers: all, agent: false },
      (response) => {
        const parts: Buffer[] = [];
        response.on('data', (bytes: Buffer) => parts.push(bytes));
        response.on('end', () => {
          const text = Buffer.concat(parts).toString();
          const code = /<Error><Code>([^<]*)/.exec(text)?.[1] ?? '';
          resolve({ status: response.statusCode ?? 0, code, text, headers: response.headers });
        });
      },
    );
    http.on('error', reject);
    http.end(body);
  });
}

/** A presigned URL's query, to be changed before it is signed. */
export function presigned(
  s3: S3Rig,
  method: string,
  path: string,
  change: (query: URLSearchParams) => void = () => {},
  shiftMs = 0,
): string {
  const timestamp = stamp(Date.now() + shiftMs);
  const credential = { keyId: s3.keyId, date: timestamp.slice(0, 8), region: 'us-east-1', service: 's3' };
  const query = new URLSearchParams({
    'X-Amz-Algorithm': 'AWS4-HMAC-SHA256',
    'X-Amz-Credential': `${s3.keyId}/${credential.date}/us-east-1/s3/aws4_request`,
    'X-Amz-Date': timestamp,
    'X-Amz-Expires': '300',
    'X-Amz-SignedHeaders': 'host',
  });
  change(query);
  const host = `127.0.0.1:${s3.port}`;
  const signed = { credential, signedHeaders: ['host'], timestamp, expires: 300 };
  const asked = { method, path, query: [...query] as [string, string][], header: () => host };
  query.set(
    'X-Amz-Signature',
    signatureOf(asked, signed, 'UNSIGNED-PAYLOAD', signingKey(s3.secret, credential)),
  );
  return query.toString();
}

export const someKey = () => `k-${randomUUID()}`;
