import { type AccessKeys, mayDo } from './access-keys.js';
import { S3Error } from './errors.js';
import type { S3Request } from './request.js';
import type { AccessRow, Right } from './rows.js';
import {
  parseAuthorization,
  parsePresigned,
  type Signed,
  sameSignature,
  signatureOf,
  signingKey,
  timeOf,
} from './sigv4.js';

const SKEW_MS = 15 * 60_000;
export const UNSIGNED = 'UNSIGNED-PAYLOAD';

/** Who asks, and what the signature says of the body. */
export interface Caller {
  readonly access: AccessRow;
  readonly signed: Signed;
  readonly key: Buffer;
  /** x-amz-content-sha256: a hash in hex, UNSIGNED-PAYLOAD or one of STREAMING-*. */
  readonly payload: string;
}

/** Checks the signature of the headers or of a presigned URL. @throws S3Error AccessDenied and others of authentication */
export async function authenticate(request: S3Request, keys: AccessKeys, nowMs: number): Promise<Caller> {
  const authorization = request.header('authorization');
  const presigned = request.params.has('X-Amz-Signature') || request.params.has('X-Amz-Algorithm');
  if (authorization === undefined && !presigned) throw new S3Error('AccessDenied', 'Access Denied');
  let signed: Signed;
  let payload: string;
  if (authorization !== undefined) {
    const date = request.header('x-amz-date') ?? timestampOf(request.header('date'));
    if (date === undefined || Number.isNaN(timeOf(date))) {
      throw new S3Error('AccessDenied', 'AWS authentication requires a valid Date or x-amz-date header');
    }
    signed = parseAuthorization(authorization, date);
    payload = request.header('x-amz-content-sha256') ?? '';
    if (payload === '') {
      throw new S3Error('InvalidRequest', 'Missing required header for this request: x-amz-content-sha256');
    }
  } else {
    signed = parsePresigned(request.params);
    payload = request.header('x-amz-content-sha256') ?? request.param('X-Amz-Content-Sha256') ?? UNSIGNED;
  }
  checkHeaders(request, signed);
  checkTime(signed, nowMs);
  const access = await keys.find(signed.credential.keyId, nowMs);
  if (access === null) {
    throw new S3Error(
      'InvalidAccessKeyId',
      'The AWS Access Key Id you provided does not exist in our records.',
      {
        AWSAccessKeyId: signed.credential.keyId.slice(0, 128),
      },
    );
  }
  const key = signingKey(access.secret, signed.credential);
  if (!sameSignature(signatureOf(request, signed, payload, key), signed.signature)) {
    throw new S3Error(
      'SignatureDoesNotMatch',
      'The request signature we calculated does not match the signature you provided. Check your key and signing method.',
      { AWSAccessKeyId: access.keyId },
    );
  }
  return { access, signed, key, payload };
}

/** @throws S3Error AccessDenied */
export function authorize({ access }: Caller, bucket: string, right: Right): void {
  if (!mayDo(access, bucket, right)) throw new S3Error('AccessDenied', 'Access Denied');
}

/** What decides what a request means must be signed: who was given the address of an upload must not make a copy of it. */
function checkHeaders(request: S3Request, { signedHeaders, expires }: Signed): void {
  const names = Object.keys(request.http.headers).filter((name) => name.startsWith('x-amz-'));
  // The hash of the body is in a presigned signature by itself.
  const implied = expires === null ? '' : 'x-amz-content-sha256';
  const missing = names.filter((name) => name !== implied && !signedHeaders.includes(name));
  if (missing.length === 0) return;
  throw new S3Error('AccessDenied', 'There were headers present in the request which were not signed', {
    HeadersNotSigned: missing.join(', '),
  });
}

function checkTime({ timestamp, expires, credential }: Signed, nowMs: number): void {
  const signedMs = timeOf(timestamp);
  if (Number.isNaN(signedMs) || timestamp.slice(0, 8) !== credential.date) {
    throw new S3Error('AccessDenied', 'The date of the signature and of its credential are not valid.');
  }
  if (expires !== null) {
    if (signedMs > nowMs + SKEW_MS) throw new S3Error('AccessDenied', 'Request is not yet valid');
    if (signedMs + expires * 1000 < nowMs) throw new S3Error('AccessDenied', 'Request has expired');
  } else if (Math.abs(signedMs - nowMs) > SKEW_MS) {
    throw new S3Error(
      'RequestTimeTooSkewed',
      'The difference between the request time and the current time is too large.',
      {
        RequestTime: timestamp,
        ServerTime: new Date(nowMs).toISOString(),
      },
    );
  }
}

function timestampOf(date: string | undefined): string | undefined {
  const ms = Date.parse(date ?? '');
  if (Number.isNaN(ms)) return undefined;
  return `${new Date(ms).toISOString().replace(/[-:]|\.\d+/g, '')}`;
}
