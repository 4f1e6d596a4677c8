import { createHash } from 'node:crypto';
import type { ContentSink } from '../../client/index.js';
import { authorize } from '../auth.js';
import { PUT_BYTES } from '../body.js';
import { checksumElement, checksumName, runningSum } from '../checksums.js';
import { notModified, rangeOf, writeCondition } from '../conditions.js';
import type { Call, Operation } from '../context.js';
import { S3Error } from '../errors.js';
import { factsOf } from '../facts.js';
import { answerLong } from '../long-answer.js';
import { checkKey } from '../names.js';
import type { Checksum, ObjectRow } from '../rows.js';

export interface CopySource {
  readonly bucket: string;
  /** What reads it; null: it takes none. */
  readonly secret: Buffer | null;
  readonly key: string;
  readonly row: ObjectRow;
}

/** The object that x-amz-copy-source names. @throws S3Error InvalidArgument, NoSuchKey, AccessDenied, PreconditionFailed */
export async function copySource({ request, caller, services }: Call): Promise<CopySource> {
  const header = request.header('x-amz-copy-source') ?? '';
  const refuse = () =>
    new S3Error(
      'InvalidArgument',
      'Copy Source must mention the source bucket and key: sourcebucket/sourcekey',
    );
  let path: string;
  try {
    path = decodeURIComponent(header.split('?')[0]!).replace(/^\//, '');
  } catch {
    throw refuse();
  }
  const version = /\?versionId=(.*)$/.exec(header)?.[1];
  if (version !== undefined && version !== 'null')
    throw new S3Error('NotImplemented', 'Versions of objects are not implemented here.');
  const slash = path.indexOf('/');
  if (slash < 1 || slash === path.length - 1) throw refuse();
  const [bucket, key] = [path.slice(0, slash), path.slice(slash + 1)];
  authorize(caller, bucket, 'read');
  await services.buckets.checkOwner(bucket, request.header('x-amz-source-expected-bucket-owner'));
  const owner = await services.buckets.get(bucket);
  const row = await services.objects.get(bucket, key);
  if (notModified((name) => request.header(name), row, 'x-amz-copy-source-')) {
    throw new S3Error('PreconditionFailed', 'At least one of the pre-conditions you specified did not hold');
  }
  return { bucket, key, row, secret: await services.codings.keyOf(owner.value, row) };
}

/** CopyObject: the content is copied by this server, so that each object has data of its own. */
export const copyObject: Operation = async (call) => {
  const { request, services } = call;
  const { objects, buckets } = services;
  checkKey(request.key);
  const source = await copySource(call);
  if (source.row.sizeBytes > PUT_BYTES) {
    throw new S3Error(
      'InvalidRequest',
      'The specified copy source is larger than the maximum allowable size for a copy source: 5368709120',
    );
  }
  const directive = (name: string) => (request.header(name) ?? 'COPY').toUpperCase();
  const newMeta = directive('x-amz-metadata-directive') === 'REPLACE';
  const newTags = directive('x-amz-tagging-directive') === 'REPLACE';
  if (source.bucket === request.bucket && source.key === request.key && !newMeta && !newTags) {
    throw new S3Error(
      'InvalidRequest',
      "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.",
    );
  }
  const facts = factsOf(request);
  const { row } = source;
  const bucket = await buckets.get(request.bucket);
  const algorithm = request.header('x-amz-checksum-algorithm');
  const { sizeBytes } = row;
  const coding = await services.codings.ofBucket(bucket.value);
  const writer =
    coding === null
      ? await services.store.writer(sizeBytes, bucket.value.image)
      : services.store.codedWriter(sizeBytes, coding);
  await answerLong(call, 'CopyObjectResult', async () => {
    const copied = await copyContent(call, source, { from: 0, to: sizeBytes }, writer, algorithm);
    try {
      const content = {
        headers: newMeta ? facts.headers : row.headers,
        meta: newMeta ? facts.meta : row.meta,
        tags: newTags ? facts.tags : row.tags,
        extents: copied.extents,
        coding: copied.coding,
        sizeBytes,
        etag: copied.md5,
        checksum: copied.checksum ?? (row.checksum?.composite === false ? row.checksum : null),
        hash: copied.hash,
        parts: null,
      };
      const condition = writeCondition((name) => request.header(name));
      const writtenFor = bucket.value;
      const put = await objects.put(request.bucket, request.key, content, { condition, writtenFor });
      return {
        LastModified: new Date(put.modifiedMs).toISOString(),
        ETag: `"${put.etag}"`,
        ...checksumElement(put.checksum),
      };
    } finally {
      await copied.release();
    }
  });
};

/** Writes a range of a content anew, to be committed, then released. @param signal ends it, as does a client that has gone */
export async function copyContent(
  { services: { store }, response }: Call,
  { row, secret, bucket, key }: CopySource,
  { from, to }: { from: number; to: number },
  writer: ContentSink,
  algorithm: string | undefined,
  signal?: AbortSignal,
) {
  try {
    const name = algorithm === undefined ? null : checksumName(algorithm);
    const md5 = createHash('md5');
    const sum = name === null ? null : runningSum(name);
    const whole = from === 0 && to === row.sizeBytes;
    const named = { ...row, name: `${bucket}/${key}` };
    const content = whole ? store.readWhole(named, secret) : store.readRange(named, secret, from, to);
    for await (const bytes of content) {
      signal?.throwIfAborted();
      if (response.destroyed) throw gone();
      md5.update(bytes);
      sum?.update(bytes);
      await writer.write(bytes);
    }
    const extents = await store.finish(writer);
    const checksum: Checksum | null =
      name === null || sum === null ? null : { name, value: sum.digest(), composite: false };
    return {
      extents,
      coding: writer.coding(),
      md5: md5.digest('hex'),
      checksum,
      hash: writer.hash(),
      release: () => writer.release(),
    };
  } catch (error) {
    await writer.abort();
    throw error;
  }
}

/** The range of x-amz-copy-source-range. @throws S3Error InvalidArgument, InvalidRange */
export function copyRange({ request }: Call, row: ObjectRow): { from: number; to: number } {
  const header = request.header('x-amz-copy-source-range');
  if (header === undefined) return { from: 0, to: row.sizeBytes };
  const last = /^bytes=\d+-(\d+)$/.exec(header)?.[1];
  if (last === undefined) {
    throw new S3Error(
      'InvalidArgument',
      'The x-amz-copy-source-range value must be of the form bytes=first-last',
    );
  }
  const range = rangeOf(header, row.sizeBytes);
  if (range === null || Number(last) >= row.sizeBytes) {
    throw new S3Error('InvalidRange', 'The requested range is not satisfiable');
  }
  return range;
}

/** As a stream says it whose reader has gone. */
function gone(): Error {
  return Object.assign(new Error('the client has gone'), { code: 'ERR_STREAM_PREMATURE_CLOSE' });
}
