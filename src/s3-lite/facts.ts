import { S3Error } from './errors.js';
import type { S3Request } from './request.js';
import type { ContentFacts } from './rows.js';
import { elements, parseXml, text } from './xml.js';

/** Kept with the content, and what `response-*` of a read may say otherwise. */
export const KEPT_HEADERS = [
  'content-type',
  'cache-control',
  'content-disposition',
  'content-encoding',
  'content-language',
  'expires',
] as const;
const META_BYTES = 2048;
/** RFC 9110 sections 5.1 and 5.5: what comes in an address need not be one, and could not be told again. */
const HEADER_NAME = /^[!#$%&'*+.^_`|~0-9a-z-]+$/;
const HEADER_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
const TAGS = 10;

/** What a request says of the content it brings. @throws S3Error MetadataTooLarge, InvalidTag, NotImplemented */
export function factsOf(request: S3Request): ContentFacts {
  const headers: Record<string, string> = {};
  for (const name of KEPT_HEADERS) {
    let value = request.header(name);
    if (name === 'content-encoding') value = withoutChunked(value);
    if (value !== undefined && !HEADER_VALUE.test(value)) throw noHeader(name);
    if (value !== undefined && value !== '') headers[name] = value;
  }
  const meta: Record<string, string> = {};
  let bytes = 0;
  for (const name of request.headerNames()) {
    if (!name.startsWith('x-amz-meta-')) continue;
    const value = request.header(name) ?? '';
    if (!HEADER_NAME.test(name) || !HEADER_VALUE.test(value)) throw noHeader(name);
    meta[name.slice(11)] = value;
    bytes += name.length - 11 + value.length;
  }
  if (bytes > META_BYTES) {
    throw new S3Error('MetadataTooLarge', 'Your metadata headers exceed the maximum allowed metadata size', {
      Size: String(bytes),
      MaxSizeAllowed: String(META_BYTES),
    });
  }
  checkOthers(request);
  return { headers, meta, tags: tagsOfHeader(request.header('x-amz-tagging')) };
}

function noHeader(name: string): S3Error {
  return new S3Error('InvalidArgument', 'Metadata must be names and values of HTTP headers', {
    ArgumentName: name,
  });
}

function withoutChunked(value: string | undefined): string | undefined {
  const kept = value
    ?.split(',')
    .map((one) => one.trim())
    .filter((one) => one !== 'aws-chunked');
  return kept === undefined || kept.length === 0 ? undefined : kept.join(',');
}

/** What would be passed over in silence is refused. */
function checkOthers(request: S3Request): void {
  for (const name of request.headerNames()) {
    if (name.startsWith('x-amz-server-side-encryption') || name.startsWith('x-amz-object-lock-')) {
      throw new S3Error(
        'NotImplemented',
        `A header you provided implies functionality that is not implemented: ${name}`,
      );
    }
  }
  if (request.header('x-amz-website-redirect-location') !== undefined) {
    throw new S3Error('NotImplemented', 'Redirects are not implemented here.');
  }
}

function tagsOfHeader(header: string | undefined): Record<string, string> {
  if (header === undefined || header === '') return {};
  return checkTags([...new URLSearchParams(header)]);
}

/** @throws S3Error InvalidTag, MalformedXML */
export function tagsOfXml(body: Buffer): Record<string, string> {
  const [set] = elements(parseXml(body, 'Tagging'), 'TagSet');
  const tags = elements(set ?? {}, 'Tag').map(
    (tag) => [text(tag, 'Key') ?? '', text(tag, 'Value') ?? ''] as const,
  );
  return checkTags(tags);
}

function checkTags(pairs: readonly (readonly [string, string])[]): Record<string, string> {
  if (pairs.length > TAGS) throw new S3Error('InvalidTag', `Object tags cannot be greater than ${TAGS}`);
  const tags: Record<string, string> = Object.create(null);
  for (const [key, value] of pairs) {
    if (key.length === 0 || key.length > 128)
      throw new S3Error('InvalidTag', 'The TagKey you have provided is invalid');
    if (value.length > 256) throw new S3Error('InvalidTag', 'The TagValue you have provided is invalid');
    if (key in tags) throw new S3Error('InvalidTag', 'Cannot provide multiple Tags with the same key');
    tags[key] = value;
  }
  return { ...tags };
}
