import { asRawstorError } from '../common/errors.js';

/** S3's error codes that this answers, each with its HTTP status (Amazon S3 API reference, "Error responses"). */
export const S3_ERRORS = {
  AccessDenied: 403,
  AuthorizationHeaderMalformed: 400,
  AuthorizationQueryParametersError: 400,
  BadDigest: 400,
  BucketAlreadyOwnedByYou: 409,
  BucketNotEmpty: 409,
  ConditionalRequestConflict: 409,
  EntityTooLarge: 400,
  EntityTooSmall: 400,
  IncompleteBody: 400,
  InternalError: 500,
  InvalidAccessKeyId: 403,
  InvalidArgument: 400,
  InvalidBucketName: 400,
  InvalidDigest: 400,
  InvalidPart: 400,
  InvalidPartNumber: 416,
  InvalidPartOrder: 400,
  InvalidRange: 416,
  InvalidRequest: 400,
  InvalidTag: 400,
  KeyTooLongError: 400,
  MalformedXML: 400,
  MetadataTooLarge: 400,
  MethodNotAllowed: 405,
  MissingContentLength: 411,
  NoSuchBucket: 404,
  NoSuchBucketPolicy: 404,
  NoSuchCORSConfiguration: 404,
  NoSuchKey: 404,
  NoSuchLifecycleConfiguration: 404,
  NoSuchObjectLockConfiguration: 404,
  NoSuchTagSet: 404,
  NoSuchUpload: 404,
  NoSuchWebsiteConfiguration: 404,
  NotImplemented: 501,
  ObjectLockConfigurationNotFoundError: 404,
  PreconditionFailed: 412,
  RequestTimeTooSkewed: 403,
  RequestTimeout: 400,
  ServerSideEncryptionConfigurationNotFoundError: 404,
  ServiceUnavailable: 503,
  SignatureDoesNotMatch: 403,
  SlowDown: 503,
  XAmzContentSHA256Mismatch: 400,
} as const;
export type S3Code = keyof typeof S3_ERRORS;

/** An answer that is an error, as S3 gives it. */
export class S3Error extends Error {
  readonly code: S3Code;
  readonly status: number;
  /** More elements of the answer. */
  readonly details: Readonly<Record<string, string>>;

  constructor(code: S3Code, message: string, details: Readonly<Record<string, string>> = {}) {
    super(message);
    this.code = code;
    this.status = S3_ERRORS[code];
    this.details = details;
  }
}

/** What failed below, as S3 says it. */
export function asS3Error(error: unknown): S3Error {
  if (error instanceof S3Error) return error;
  const failure = asRawstorError(error);
  switch (failure.code) {
    case 'UNAVAILABLE':
    case 'CONNECTION_LOST':
    case 'TIMEOUT':
    case 'FENCED':
    case 'BUSY':
      return new S3Error('ServiceUnavailable', 'The storage is not available at the moment. Try again.');
    case 'DENIED':
      return new S3Error('AccessDenied', 'The bucket is encrypted, and this server does not have its key.');
    case 'LIMIT':
    case 'CONFLICT':
      return new S3Error('SlowDown', 'Reduce your request rate.');
    case 'NO_SPACE':
    case 'UNSATISFIABLE':
      return new S3Error('ServiceUnavailable', 'No storage is left for this.');
    default:
      return new S3Error('InternalError', 'The request could not be carried out.');
  }
}

export function notImplemented(what: string): S3Error {
  return new S3Error('NotImplemented', `${what} is not implemented here.`);
}

export function noSuchBucket(name: string): S3Error {
  return new S3Error('NoSuchBucket', 'The specified bucket does not exist', { BucketName: name });
}

export function malformedXml(): S3Error {
  return new S3Error('MalformedXML', 'The XML you provided was not well-formed or did not validate.');
}
