import { createHash } from 'node:crypto';
import { fitsRow, joinedContents, joinedHash, lengthOf } from '../../client/index.js';
import { readSmallBody } from '../body.js';
import {
  CHECKSUM_NAMES,
  checkSum,
  checksumElement,
  compositeChecksum,
  wantedChecksum,
} from '../checksums.js';
import type { Completed } from '../completions.js';
import { writeCondition } from '../conditions.js';
import type { Call, Operation } from '../context.js';
import { malformedXml, S3Error } from '../errors.js';
import { answerLong } from '../long-answer.js';
import { ROW } from '../names.js';
import type { Checksum, ObjectRow, PartRow, UploadRow } from '../rows.js';
import { elements, parseXml, text } from '../xml.js';
import { findUpload, PARTS } from './multipart.js';

/** A content that lies in more objects, or in more pieces, is written anew: what names it is one row. */
const OBJECTS = 50;
const EXTENTS = 1000;
/** What a row gets when it is put: its id, times. */
const SPARE_BYTES = 1024;
const PART_MIN_BYTES = 5 * 1024 * 1024;

interface WantedPart {
  readonly number: number;
  readonly etag: string;
  readonly sums: ReadonlyMap<string, string>;
}

/** CompleteMultipartUpload: the parts become one content, without a copy where they can. */
export const completeUpload: Operation = async (call) => {
  const { request, caller } = call;
  // A checksum in its headers is of the object, not of the list of parts.
  const wanted = wantedParts(await readSmallBody(request, caller, null));
  const { completions, store, uploads } = call.services;
  const id = request.param('uploadId') ?? '';
  const uploadRow = ROW.upload(request.bucket, request.key, id);
  const isThere = async () => (await store.catalog.get(uploadRow)) !== null;
  await answerLong(call, 'CompleteMultipartUploadResult', async () => {
    const done = completions.run(id, askedOf(call, wanted), isThere, async (control) => {
      const leave = uploads.enter(id, (error) => control.abort(error));
      return completed(call, wanted, control.signal).finally(leave);
    });
    return resultOf(call, await done);
  });
};

/** What makes it this completion, and no other of the same upload. */
function askedOf({ request }: Call, wanted: readonly WantedPart[]): string {
  const names = request.headerNames().filter((name) => /^(if-|x-amz-(checksum-|mp-))/.test(name));
  const parts = wanted.map(({ number, etag, sums }) => [number, etag, [...sums]]);
  return JSON.stringify([parts, names.sort().map((name) => [name, request.header(name)])]);
}

async function completed(call: Call, wanted: readonly WantedPart[], signal: AbortSignal): Promise<Completed> {
  const { request } = call;
  try {
    return await complete(call, wanted, signal);
  } catch (error) {
    if (!(error instanceof S3Error) || error.code !== 'NoSuchUpload') throw error;
    // An answer may not have arrived, and who asks again means the same content.
    const { objects } = call.services;
    const { bucket, key } = request;
    const id = request.param('uploadId') ?? '';
    const etag = `${etagOf(wanted)}-${wanted.length}`;
    const same = (row: ObjectRow | undefined) => {
      if (row?.upload !== id || row.etag !== etag) throw error;
      return row;
    };
    same((await objects.find(bucket, key))?.value);
    // Nor may a journal have it: put anew, so that one has.
    return objects.change(bucket, key, same, [ROW.upload(bucket, key, id)]);
  }
}

async function complete(call: Call, wanted: readonly WantedPart[], signal: AbortSignal): Promise<Completed> {
  const { request, services } = call;
  const { store, uploads, objects, buckets } = services;
  const upload = await findUpload(call);
  const { value: facts, key: uploadRow, version } = upload.row;
  const parts = await chosenParts(call, facts.id, wanted);
  const sizeBytes = parts.reduce((sum, part) => sum + part.sizeBytes, 0);
  checkSize(call, sizeBytes);
  const etag = `${etagOf(parts)}-${parts.length}`;
  const checksum = checksumOf(call, facts, parts);
  const stored = joinedContents(parts);
  const { coding } = stored;
  let { extents } = stored;
  const [first] = extents;
  const whole = extents.length === 1 && first!.offset === 0;
  const storedBytes = lengthOf(extents);
  const bucket = await buckets.get(request.bucket);
  // Judged again when it is committed; but what is refused here leaves the upload as it is.
  const condition = writeCondition((name) => request.header(name));
  condition?.((await objects.find(request.bucket, request.key))?.value ?? null);
  await uploads.seal(facts.id, (objectId) =>
    whole && first!.objectId === objectId ? storedBytes : undefined,
  );
  const { headers, meta, tags } = facts;
  const runs = runsOf(parts.map((part) => part.sizeBytes));
  const hash = joinedHash(parts.map((part) => part.hash));
  const said = {
    headers,
    meta,
    tags,
    etag,
    checksum,
    hash,
    parts: runs,
    upload: facts.id,
    coding,
    sizeBytes,
  };
  let release: () => void | Promise<void> = () => {};
  const scattered =
    extents.length > EXTENTS ||
    new Set(extents.map((one) => one.objectId)).size > OBJECTS ||
    !fitsRow({ ...said, extents }, SPARE_BYTES);
  const plain = bucket.value.image && coding === null;
  if (scattered || (plain && !whole && sizeBytes > 0))
    ({ extents, release } = await store.copy(extents, true, undefined, signal));
  try {
    await objects.put(
      request.bucket,
      request.key,
      { ...said, extents },
      {
        condition,
        alsoCheck: [{ key: uploadRow, version }],
        alsoDelete: [uploadRow],
      },
    );
  } finally {
    await release();
  }
  // Its grid may be another gateway's: cut when it is on record, as nothing that is wanted comes to that any more.
  if (plain && whole) {
    await store.cut(extents).catch((error) => {
      const said = { key: request.key, reason: String(error) };
      services.log.warn(said, 'an image is not cut to its size: volumes that begin with it are copies');
    });
  }
  await uploads
    .end(facts.id)
    .catch((error) => services.log.warn({ reason: String(error) }, 'parts are left, for later'));
  return { etag, checksum };
}

function resultOf({ request: { bucket, key } }: Call, { etag, checksum }: Completed) {
  return {
    Location: `/${bucket}/${key}`,
    Bucket: bucket,
    Key: key,
    ETag: `"${etag}"`,
    ...checksumElement(checksum),
  };
}

function wantedParts(body: Buffer): WantedPart[] {
  const parts = elements(parseXml(body, 'CompleteMultipartUpload'), 'Part').map((part): WantedPart => {
    const number = Number(text(part, 'PartNumber') ?? 'none');
    const etag = text(part, 'ETag');
    if (!Number.isInteger(number) || number < 1 || number > PARTS || etag === undefined) throw malformedXml();
    const sums = new Map<string, string>();
    for (const name of CHECKSUM_NAMES) {
      const value = text(part, `Checksum${name}`);
      if (value !== undefined) sums.set(name, value);
    }
    return { number, etag: etag.trim().replace(/^"|"$/g, ''), sums };
  });
  if (parts.length === 0 || parts.length > PARTS) throw malformedXml();
  for (let i = 1; i < parts.length; i++) {
    if (parts[i]!.number > parts[i - 1]!.number) continue;
    throw new S3Error(
      'InvalidPartOrder',
      'The list of parts was not in ascending order. Parts must be ordered by part number.',
    );
  }
  return parts;
}

/** @throws S3Error InvalidPart, EntityTooSmall */
async function chosenParts(
  { services }: Call,
  id: string,
  wanted: readonly WantedPart[],
): Promise<PartRow[]> {
  const there = new Map<number, PartRow>();
  for await (const { number, row } of services.uploads.parts(id)) there.set(number, row);
  return wanted.map(({ number, etag, sums }, at) => {
    const row = there.get(number);
    const sum = row?.checksum;
    const differs = sum != null && sums.has(sum.name) && sums.get(sum.name) !== sum.value;
    if (row === undefined || row.etag !== etag || differs) {
      throw new S3Error(
        'InvalidPart',
        "One or more of the specified parts could not be found. The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.",
        { PartNumber: String(number) },
      );
    }
    if (at < wanted.length - 1 && row.sizeBytes < PART_MIN_BYTES) {
      throw new S3Error('EntityTooSmall', 'Your proposed upload is smaller than the minimum allowed size', {
        PartNumber: String(number),
        ProposedSize: String(row.sizeBytes),
        MinSizeAllowed: String(PART_MIN_BYTES),
      });
    }
    return row;
  });
}

function checkSize({ request }: Call, sizeBytes: number): void {
  const told = request.header('x-amz-mp-object-size');
  if (told === undefined || Number(told) === sizeBytes) return;
  throw new S3Error(
    'InvalidRequest',
    `The provided 'x-amz-mp-object-size' header does not match what was computed.`,
  );
}

function etagOf(parts: readonly { readonly etag: string }[]): string {
  const hash = createHash('md5');
  for (const part of parts) hash.update(Buffer.from(part.etag, 'hex'));
  return hash.digest('hex');
}

/** @throws S3Error InvalidRequest, BadDigest */
function checksumOf({ request }: Call, facts: UploadRow, parts: readonly PartRow[]): Checksum | null {
  const name = facts.checksumName;
  if (name === null) return null;
  if (parts.some((part) => part.checksum?.name !== name)) {
    throw new S3Error(
      'InvalidRequest',
      `The upload was created using the ${name.toLowerCase()} checksum. The complete request must include the checksum for each part.`,
    );
  }
  const told = wantedChecksum((header) =>
    header.startsWith('x-amz-checksum-') ? valueWithoutParts(request.header(header)) : undefined,
  );
  // Of the whole it would have to be read again: what the client says of it is kept, as nothing else is known.
  if (facts.fullChecksum) {
    if (told === null || told.name !== name || told.value === null) return null;
    checkSum(name, told.value);
    return { name, value: told.value, composite: false };
  }
  const sum = compositeChecksum(
    name,
    parts.map((part) => part.checksum!.value),
  );
  if (told?.value != null && told.name === name && told.value !== sum.value.split('-')[0]) {
    throw new S3Error('BadDigest', `The ${name} you specified did not match the calculated checksum.`);
  }
  return sum;
}

function valueWithoutParts(value: string | undefined): string | undefined {
  return value?.replace(/-\d+$/, '');
}

function runsOf(sizes: readonly number[]): [number, number][] {
  const runs: [number, number][] = [];
  for (const size of sizes) {
    const last = runs.at(-1);
    if (last?.[1] === size) last[0]++;
    else runs.push([1, size]);
  }
  return runs;
}
