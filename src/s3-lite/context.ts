import type { ServerResponse } from 'node:http';
import type { ImmutableStore } from '../client/index.js';
import type { Clock } from '../common/clock.js';
import type { Logger } from '../common/log.js';
import type { AccessKeys } from './access-keys.js';
import type { Caller } from './auth.js';
import type { Buckets } from './buckets.js';
import type { Codings } from './codings.js';
import type { Completions } from './completions.js';
import type { BodyPace } from './incoming.js';
import type { Objects } from './objects.js';
import type { S3Request } from './request.js';
import type { Uploads } from './uploads.js';
import { type XmlValue, xmlDocument } from './xml.js';

/** What operations work with. */
export interface S3Services {
  readonly store: ImmutableStore;
  readonly buckets: Buckets;
  readonly objects: Objects;
  readonly uploads: Uploads;
  readonly completions: Completions;
  readonly keys: AccessKeys;
  readonly codings: Codings;
  readonly clock: Clock;
  readonly log: Logger;
  readonly region: string;
}

/** One request while it is answered. */
export interface Call {
  readonly services: S3Services;
  readonly request: S3Request;
  readonly caller: Caller;
  readonly response: ServerResponse;
  /** How fast content has to be taken. */
  readonly answerPace: BodyPace;
  /** How often something is sent while the answer takes long. */
  readonly blankMs: number;
}

/** Answers the call. @throws S3Error before anything was sent */
export type Operation = (call: Call) => Promise<void>;

export function answerXml({ response }: Pick<Call, 'response'>, root: string, value: XmlValue): void {
  const body = Buffer.from(xmlDocument(root, value));
  response.writeHead(200, { 'content-type': 'application/xml', 'content-length': body.length });
  response.end(body);
}

export function answerEmpty(
  { response }: Pick<Call, 'response'>,
  status = 200,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, status === 204 ? headers : { ...headers, 'content-length': '0' });
  response.end();
}
