import type { IncomingMessage } from 'node:http';
import { S3Error } from './errors.js';
import type { IncomingBody } from './incoming.js';
import type { SignedRequest } from './sigv4.js';

/** A request as S3 sees it: which bucket, which key, what of it. */
export class S3Request implements SignedRequest {
  readonly http: IncomingMessage;
  readonly body: IncomingBody;
  readonly method: string;
  readonly path: string;
  readonly query: readonly (readonly [string, string])[];
  readonly params: ReadonlyMap<string, string>;
  /** '' where none is named. */
  readonly bucket: string;
  readonly key: string;
  readonly id: string;
  /** Headers of S3 that a presigned address has in its query, by their names in lower case. */
  private readonly hoisted: ReadonlyMap<string, string>;

  /** @param domain hosts below it name a bucket; '' for none. @throws S3Error InvalidArgument */
  constructor(http: IncomingMessage, body: IncomingBody, id: string, domain: string) {
    this.http = http;
    this.body = body;
    this.id = id;
    this.method = http.method ?? 'GET';
    const url = http.url ?? '/';
    const mark = url.indexOf('?');
    this.path = decode(mark < 0 ? url : url.slice(0, mark));
    this.query = mark < 0 ? [] : parseQuery(url.slice(mark + 1));
    this.params = new Map(this.query);
    this.hoisted = this.params.has('X-Amz-Signature') ? hoistedHeaders(this.query) : new Map();
    const named = bucketOfHost(http, domain);
    const rest = this.path.slice(1);
    if (named !== null) {
      this.bucket = named;
      this.key = rest;
    } else {
      const slash = rest.indexOf('/');
      this.bucket = slash < 0 ? rest : rest.slice(0, slash);
      this.key = slash < 0 ? '' : rest.slice(slash + 1);
    }
  }

  header(name: string): string | undefined {
    const value = this.http.headers[name.toLowerCase()] ?? this.hoisted.get(name.toLowerCase());
    return Array.isArray(value) ? value.join(',') : value;
  }

  /** In lower case. */
  headerNames(): string[] {
    return [...new Set([...Object.keys(this.http.headers), ...this.hoisted.keys()])];
  }

  param(name: string): string | undefined {
    return this.params.get(name);
  }

  /** A whole number of the query. @throws S3Error InvalidArgument */
  number(name: string, from: number, to: number): number | undefined {
    const text = this.params.get(name);
    if (text === undefined) return undefined;
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= from && value <= to) return value;
    throw new S3Error('InvalidArgument', `${name} must be an integer between ${from} and ${to}`, {
      ArgumentName: name,
      ArgumentValue: text,
    });
  }
}

/** The bucket that the host names, null for none. */
export function bucketOfHost({ headers }: IncomingMessage, domain: string): string | null {
  const host = (headers.host ?? '').replace(/:\d+$/, '').toLowerCase();
  const names = domain !== '' && host.endsWith(`.${domain}`);
  return names ? host.slice(0, -domain.length - 1) : null;
}

/** What says how the address is signed, and is no header of the request. */
const OF_THE_SIGNATURE = /^x-amz-(algorithm|credential|date|expires|signedheaders|signature|content-sha256)$/;

function hoistedHeaders(query: S3Request['query']): Map<string, string> {
  // As the bytes of a header would be told.
  const bytes = (text: string) => Buffer.from(text, 'utf8').toString('latin1');
  const lower = query.map(([name, value]) => [name.toLowerCase(), bytes(value)] as const);
  return new Map(lower.filter(([name]) => name.startsWith('x-amz-') && !OF_THE_SIGNATURE.test(name)));
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new S3Error('InvalidArgument', 'The address is not valid: percent signs or UTF-8 are wrong.');
  }
}

function parseQuery(text: string): [string, string][] {
  return text
    .split('&')
    .filter((part) => part !== '')
    .map((part) => {
      const at = part.indexOf('=');
      const plain = (piece: string) => decode(piece.replaceAll('+', ' '));
      return at < 0 ? [plain(part), ''] : [plain(part.slice(0, at)), plain(part.slice(at + 1))];
    });
}
