import { answerXml, type Call, type Operation } from '../context.js';
import { S3Error } from '../errors.js';
import { type Listed, listKeys } from '../listing.js';
import type { ObjectRow } from '../rows.js';
import { uriEncode } from '../sigv4.js';
import type { XmlValue } from '../xml.js';

const KEYS = 1000;

type ListedRow = Pick<ObjectRow, 'modifiedMs' | 'etag' | 'checksum' | 'sizeBytes'>;
const listedOf = ({ modifiedMs, etag, checksum, sizeBytes }: ObjectRow): ListedRow => ({
  modifiedMs,
  etag,
  checksum,
  sizeBytes,
});

/** ListObjects and ListObjectsV2. */
export const listObjects: Operation = async (call) => {
  const { request, services } = call;
  await services.buckets.get(request.bucket);
  const v2 = request.param('list-type') === '2';
  const encode = encoder(call);
  const prefix = request.param('prefix') ?? '';
  const delimiter = request.param('delimiter') ?? '';
  const limit = Math.min(request.number('max-keys', 0, 2 ** 31 - 1) ?? KEYS, KEYS);
  const token = request.param('continuation-token');
  const after = v2
    ? token === undefined
      ? request.param('start-after')
      : fromToken(token)
    : request.param('marker');
  const query = { prefix, delimiter, after: after ?? '', limit };
  const found = await listKeys(services.store.catalog, request.bucket, query, listedOf);
  const owner = { ID: 'rawstor', DisplayName: 'rawstor' };
  const withOwner = !v2 || request.param('fetch-owner') === 'true';
  const contents = found.entries.map(
    ({ key, value }): XmlValue => ({
      Key: encode(key),
      LastModified: new Date(value.modifiedMs).toISOString(),
      ETag: `"${value.etag}"`,
      ...(value.checksum === null ? {} : { ChecksumAlgorithm: value.checksum.name }),
      Size: value.sizeBytes,
      ...(withOwner ? { Owner: owner } : {}),
      StorageClass: 'STANDARD',
    }),
  );
  answerXml(call, 'ListBucketResult', {
    Name: request.bucket,
    Prefix: encode(prefix),
    ...(delimiter === '' ? {} : { Delimiter: encode(delimiter) }),
    MaxKeys: limit,
    ...(request.param('encoding-type') === undefined ? {} : { EncodingType: 'url' }),
    ...(v2 ? pageOfV2(call, found, encode, token) : pageOfV1(call, found, encode, delimiter)),
    IsTruncated: found.truncated,
    Contents: contents,
    CommonPrefixes: found.prefixes.map((one) => ({ Prefix: encode(one) })),
  });
};

/** @throws S3Error InvalidArgument */
export function encoder({ request }: Call): (text: string) => string {
  const type = request.param('encoding-type');
  if (type === undefined) return (text) => text;
  if (type !== 'url') throw new S3Error('InvalidArgument', 'Invalid Encoding Method specified in Request');
  return (text) => uriEncode(text, true);
}

function pageOfV1(
  { request }: Call,
  found: Listed<unknown>,
  encode: (text: string) => string,
  delimiter: string,
): Record<string, XmlValue> {
  const next = found.truncated && delimiter !== '' ? encode(found.last ?? '') : undefined;
  return { Marker: encode(request.param('marker') ?? ''), NextMarker: next };
}

function pageOfV2(
  { request }: Call,
  found: Listed<unknown>,
  encode: (text: string) => string,
  token: string | undefined,
): Record<string, XmlValue> {
  const startAfter = request.param('start-after');
  return {
    KeyCount: found.entries.length + found.prefixes.length,
    ContinuationToken: token,
    StartAfter: startAfter === undefined ? undefined : encode(startAfter),
    NextContinuationToken: found.truncated ? Buffer.from(found.last ?? '').toString('base64url') : undefined,
  };
}

function fromToken(token: string): string {
  const text = Buffer.from(token, 'base64url').toString('utf8');
  if (token !== '' && Buffer.from(text).toString('base64url') === token.replace(/=+$/, '')) return text;
  throw new S3Error('InvalidArgument', 'The continuation token provided is incorrect');
}
