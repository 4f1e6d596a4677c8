import { contentLength, PUT_BYTES, readBody } from '../body.js';
import { checksumHeaders } from '../checksums.js';
import { writeCondition } from '../conditions.js';
import { answerEmpty, type Operation } from '../context.js';
import { factsOf } from '../facts.js';
import { checkKey } from '../names.js';

/** PutObject. */
export const putObject: Operation = async (call) => {
  const { request, caller, services } = call;
  const { store, objects, buckets, codings } = services;
  checkKey(request.key);
  const length = contentLength(request, PUT_BYTES);
  const facts = factsOf(request);
  const bucket = await buckets.get(request.bucket);
  const condition = writeCondition((name) => request.header(name));
  // What cannot be is said before the content comes; it is judged again when it is committed.
  if (condition !== undefined) {
    condition((await objects.find(request.bucket, request.key))?.value ?? null);
  }
  const stored = await codings.ofBucket(bucket.value);
  const writer =
    stored === null ? await store.writer(length, bucket.value.image) : store.codedWriter(length, stored);
  try {
    const read = await readBody(request, caller, length, (bytes) => writer.write(bytes));
    const extents = await store.finish(writer);
    const { md5: etag, checksum } = read;
    const hash = writer.hash();
    const coding = writer.coding();
    const content = { ...facts, extents, coding, sizeBytes: length, etag, checksum, hash, parts: null };
    await objects.put(request.bucket, request.key, content, { condition, writtenFor: bucket.value });
    await writer.release();
    answerEmpty(call, 200, { etag: `"${etag}"`, ...checksumHeaders(checksum) });
  } catch (error) {
    await writer.abort();
    throw error;
  }
};

/** DeleteObject: a key that is not there is deleted too. */
export const deleteObject: Operation = async (call) => {
  const { request, services } = call;
  await services.buckets.get(request.bucket);
  const match = request.header('if-match');
  const condition =
    match === undefined ? undefined : writeCondition((name) => (name === 'if-match' ? match : undefined));
  await services.objects.remove(request.bucket, request.key, condition);
  answerEmpty(call, 204);
};
