import { isDeepStrictEqual } from 'node:util';
import { asRawstorError } from '../../common/errors.js';
import { checksumHeaders } from '../checksums.js';
import { notModified, rangeOf } from '../conditions.js';
import type { Call, Operation } from '../context.js';
import { S3Error } from '../errors.js';
import { KEPT_HEADERS } from '../facts.js';
import { OutgoingBody } from '../outgoing.js';
import type { BucketRow, ObjectRow } from '../rows.js';

/** RFC 9110 section 5.5, of ASCII. */
const HEADER_VALUE = /^[\t\x20-\x7e]*$/;

/** GetObject and HeadObject. */
export const readObject: Operation = async (call) => {
  const { request, response, services } = call;
  const bucket = await services.buckets.get(request.bucket);
  const find = () => services.objects.get(request.bucket, request.key);
  const row = await find();
  try {
    await answerWith(call, bucket.value, row);
  } catch (error) {
    // What it names was moved to another pack, or replaced, since the row was read.
    if (response.headersSent || asRawstorError(error).code !== 'NOT_FOUND') throw error;
    const now = await find();
    if (isDeepStrictEqual(now.extents, row.extents)) throw error;
    await answerWith(call, bucket.value, now);
  }
};

async function answerWith(call: Call, bucket: BucketRow, row: ObjectRow): Promise<void> {
  const { request, response, services } = call;
  const headers = headersOf(call, row);
  if (notModified((name) => request.header(name), row)) {
    response.writeHead(304, { etag: headers.etag, 'last-modified': headers['last-modified'] });
    response.end();
    return;
  }
  const part = partOf(call, row);
  const ranged = request.header('if-range');
  const applies = ranged === undefined || ranged.replaceAll('"', '') === row.etag;
  const range = part ?? (applies ? rangeOf(request.header('range'), row.sizeBytes) : null);
  const { from, to } = range ?? { from: 0, to: row.sizeBytes };
  headers['content-length'] = String(to - from);
  if (range !== null && row.sizeBytes > 0)
    headers['content-range'] = `bytes ${from}-${to - 1}/${row.sizeBytes}`;
  const status = range === null ? 200 : 206;
  const whole = from === 0 && to === row.sizeBytes;
  // It is that of the whole, also where a part is asked for.
  if (whole) addChecksum(call, row, headers);
  if (request.method === 'HEAD') {
    response.writeHead(status, headers);
    response.end();
    return;
  }
  const { store, codings } = services;
  const named = { ...row, name: `${request.bucket}/${request.key}` };
  const key = await codings.keyOf(bucket, row);
  const content = whole ? store.readWhole(named, key) : store.readRange(named, key, from, to);
  // What fails at once is an answer; later only the connection can say so.
  const first = await content.next();
  response.writeHead(status, headers);
  if (first.done === true) return void response.end();
  try {
    const answer = new OutgoingBody(response, services.clock, call.answerPace);
    await answer.write(first.value);
    for await (const bytes of content) await answer.write(bytes);
    response.end();
  } finally {
    await content.return(undefined);
  }
}

function headersOf({ request }: Call, row: ObjectRow): Record<string, string> {
  const headers: Record<string, string> = {
    'content-type': 'binary/octet-stream',
    ...row.headers,
    'accept-ranges': 'bytes',
    etag: `"${row.etag}"`,
    'last-modified': new Date(row.modifiedMs).toUTCString(),
  };
  for (const [name, value] of Object.entries(row.meta)) headers[`x-amz-meta-${name}`] = value;
  const tags = Object.keys(row.tags).length;
  if (tags > 0) headers['x-amz-tagging-count'] = String(tags);
  if (row.retainUntilMs > 0) {
    headers['x-amz-object-lock-mode'] = 'COMPLIANCE';
    headers['x-amz-object-lock-retain-until-date'] = new Date(row.retainUntilMs).toISOString();
  }
  if (row.parts !== null) headers['x-amz-mp-parts-count'] = String(partCount(row));
  for (const name of KEPT_HEADERS) {
    const value = request.param(`response-${name}`);
    if (value === undefined) continue;
    if (!HEADER_VALUE.test(value)) {
      throw new S3Error('InvalidArgument', `response-${name} is no value of a header`, {
        ArgumentName: `response-${name}`,
      });
    }
    headers[name] = value;
  }
  return headers;
}

function addChecksum({ request }: Call, { checksum }: ObjectRow, headers: Record<string, string>): void {
  if (checksum === null || request.header('x-amz-checksum-mode')?.toUpperCase() !== 'ENABLED') return;
  Object.assign(headers, checksumHeaders(checksum));
}

function partCount(row: ObjectRow): number {
  return (row.parts ?? []).reduce((sum, [count]) => sum + count, 0);
}

/** @throws S3Error InvalidArgument, InvalidRange */
function partOf({ request }: Call, row: ObjectRow): { from: number; to: number } | null {
  const wanted = request.number('partNumber', 1, 10_000);
  if (wanted === undefined) return null;
  if (request.header('range') !== undefined) {
    throw new S3Error('InvalidRequest', 'Cannot specify both Range header and partNumber query parameter');
  }
  let [from, left] = [0, wanted];
  for (const [count, bytes] of row.parts ?? [[1, row.sizeBytes] as const]) {
    if (left <= count) return { from: from + (left - 1) * bytes, to: from + left * bytes };
    left -= count;
    from += count * bytes;
  }
  throw new S3Error('InvalidPartNumber', 'The requested partnumber is not satisfiable');
}
