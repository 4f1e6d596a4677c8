import { randomUUID } from 'node:crypto';
import { contentLength, PUT_BYTES, readBody } from '../body.js';
import { checksumElement, checksumHeaders, checksumName, wantedChecksum } from '../checksums.js';
import { answerEmpty, answerXml, type Call, type Operation } from '../context.js';
import { S3Error } from '../errors.js';
import { factsOf } from '../facts.js';
import { answerLong } from '../long-answer.js';
import { checkKey } from '../names.js';
import type { FoundUpload } from '../uploads.js';
import { copyContent, copyRange, copySource } from './copy.js';

export const PARTS = 10_000;

/** CreateMultipartUpload. */
export const createUpload: Operation = async (call) => {
  const { request, caller, services } = call;
  checkKey(request.key);
  const algorithm = request.header('x-amz-checksum-algorithm');
  const checksum = algorithm === undefined ? null : checksumName(algorithm);
  // A sum of parts' sums of that one there is not.
  const usual = checksum === 'CRC64NVME' ? 'FULL_OBJECT' : 'COMPOSITE';
  const type = request.header('x-amz-checksum-type')?.toUpperCase() ?? usual;
  const full = type === 'FULL_OBJECT';
  if (!full && checksum === 'CRC64NVME') {
    throw new S3Error(
      'InvalidRequest',
      `The ${type} checksum type cannot be used with the crc64nvme checksum algorithm.`,
    );
  }
  if (full && (checksum === 'SHA1' || checksum === 'SHA256')) {
    throw new S3Error(
      'InvalidRequest',
      `The FULL_OBJECT checksum type cannot be used with the ${checksum.toLowerCase()} checksum algorithm.`,
    );
  }
  const bucket = await services.buckets.get(request.bucket);
  // Told now, not with the first part.
  await services.codings.ofBucket(bucket.value);
  const { compression, encryption } = bucket.value;
  const id = await services.uploads.begin(bucket, request.key, {
    compression: compression ?? null,
    encrypted: encryption != null,
    ...factsOf(request),
    initiatedMs: services.clock.wallMs(),
    owner: caller.access.keyId,
    checksumName: checksum,
    fullChecksum: full,
  });
  if (checksum !== null) {
    call.response.setHeader('x-amz-checksum-algorithm', checksum);
    call.response.setHeader('x-amz-checksum-type', full ? 'FULL_OBJECT' : 'COMPOSITE');
  }
  answerXml(call, 'InitiateMultipartUploadResult', {
    Bucket: request.bucket,
    Key: request.key,
    UploadId: id,
  });
};

export function findUpload({ request, services }: Call): Promise<FoundUpload> {
  return services.uploads.find(request.bucket, request.key, request.param('uploadId') ?? '');
}

function partNumber({ request }: Call): number {
  const number = request.number('partNumber', 1, PARTS);
  if (number !== undefined) return number;
  throw new S3Error('InvalidArgument', `Part number must be an integer between 1 and ${PARTS}, inclusive`);
}

/** UploadPart. */
export const uploadPart: Operation = async (call) => {
  const { request, services } = call;
  const leave = services.uploads.enter(request.param('uploadId') ?? '', (error) => request.body.end(error));
  try {
    await storePart(call);
  } finally {
    leave();
  }
};

async function storePart(call: Call): Promise<void> {
  const { request, caller, services } = call;
  const number = partNumber(call);
  const length = contentLength(request, PUT_BYTES);
  const upload = await findUpload(call);
  const bucket = await services.buckets.get(request.bucket);
  const coding = await services.codings.ofUpload(bucket.value, upload.row.value);
  const writer = await services.uploads.writer(upload, number, length, coding);
  try {
    const wanted = upload.row.value.checksumName;
    // The completion needs that of each part: one that comes without is given it here.
    const own = wanted === null ? null : { name: wanted, value: null, inTrailer: false };
    const told = wantedChecksum((name) => request.header(name)) ?? own;
    const read = await readBody(request, caller, length, (bytes) => writer.write(bytes), told);
    if (wanted !== null && read.checksum !== null && read.checksum.name !== wanted) {
      throw new S3Error(
        'InvalidRequest',
        `Checksum Type mismatch occurred, expected checksum Type: ${wanted.toLowerCase()}, actual checksum Type: ${read.checksum.name.toLowerCase()}`,
      );
    }
    const extents = await services.store.finish(writer);
    const modifiedMs = services.clock.wallMs();
    const { md5: etag, checksum } = read;
    const row = {
      id: randomUUID(),
      upload: upload.row.key,
      extents,
      coding: writer.coding(),
      sizeBytes: length,
      etag,
      modifiedMs,
      checksum,
      hash: writer.hash(),
    };
    await services.uploads.put(upload, number, row);
    await writer.release();
    answerEmpty(call, 200, { etag: `"${etag}"`, ...checksumHeaders(checksum) });
  } catch (error) {
    await writer.abort();
    throw error;
  }
}

/** UploadPartCopy. */
export const uploadPartCopy: Operation = async (call) => {
  const control = new AbortController();
  const id = call.request.param('uploadId') ?? '';
  const leave = call.services.uploads.enter(id, (error) => control.abort(error));
  try {
    await copyPart(call, control.signal);
  } finally {
    leave();
  }
};

async function copyPart(call: Call, signal: AbortSignal): Promise<void> {
  const { services } = call;
  const number = partNumber(call);
  const upload = await findUpload(call);
  const source = await copySource(call);
  const { from, to } = copyRange(call, source.row);
  const algorithm = upload.row.value.checksumName ?? undefined;
  const bucket = await services.buckets.get(call.request.bucket);
  const coding = await services.codings.ofUpload(bucket.value, upload.row.value);
  await answerLong(call, 'CopyPartResult', async () => {
    const writer = await services.uploads.writer(upload, number, to - from, coding);
    const copied = await copyContent(call, source, { from, to }, writer, algorithm, signal);
    try {
      const modifiedMs = services.clock.wallMs();
      const { extents, coding, md5: etag, checksum, hash } = copied;
      const row = {
        id: randomUUID(),
        upload: upload.row.key,
        extents,
        coding,
        sizeBytes: to - from,
        etag,
        modifiedMs,
        checksum,
        hash,
      };
      await services.uploads.put(upload, number, row);
      return {
        LastModified: new Date(modifiedMs).toISOString(),
        ETag: `"${etag}"`,
        ...checksumElement(checksum),
      };
    } finally {
      await copied.release();
    }
  });
}

/** AbortMultipartUpload. */
export const abortUpload: Operation = async (call) => {
  const { row } = await findUpload(call);
  const { store, uploads } = call.services;
  const failed = await store.catalog.transact({
    checks: [{ key: row.key, version: row.version }],
    deletes: [row.key],
  });
  if (failed !== null) throw new S3Error('NoSuchUpload', 'The specified upload does not exist.');
  await uploads.end(row.value.id);
  answerEmpty(call, 204);
};
