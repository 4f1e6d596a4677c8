import { prefixEnd } from '../../common/prefix-end.js';
import { checksumElement } from '../checksums.js';
import { answerXml, type Operation } from '../context.js';
import { decodeKey, encodeKey, encodeMarker, isBeyondKeys, ROW } from '../names.js';
import type { UploadRow } from '../rows.js';
import type { XmlValue } from '../xml.js';
import { encoder } from './list.js';
import { findUpload } from './multipart.js';

const OWNER = { ID: 'rawstor', DisplayName: 'rawstor' };
const LISTED = 1000;

/** ListMultipartUploads. */
export const listUploads: Operation = async (call) => {
  const { request, services } = call;
  await services.buckets.get(request.bucket);
  const encode = encoder(call);
  const limit = Math.min(request.number('max-uploads', 0, 2 ** 31 - 1) ?? LISTED, LISTED);
  const [prefix, delimiter] = [request.param('prefix') ?? '', request.param('delimiter') ?? ''];
  const keyMarker = request.param('key-marker') ?? '';
  const idMarker = request.param('upload-id-marker') ?? '';
  const base = ROW.uploads(request.bucket);
  const start = isBeyondKeys(prefix) ? null : base + encodeKey(prefix);
  const to = start === null ? '' : prefixEnd(start);
  let from = start ?? '';
  if (keyMarker !== '') {
    const after = base + encodeMarker(keyMarker);
    // A page may end with a common prefix: what is under it has been told.
    const isPrefix = delimiter !== '' && keyMarker.endsWith(delimiter) && keyMarker.startsWith(prefix);
    const told =
      isPrefix && keyMarker.indexOf(delimiter, prefix.length) === keyMarker.length - delimiter.length;
    const id = /^[0-9a-f]{32}$/.test(idMarker) ? idMarker : null;
    const marker = told ? prefixEnd(after) : id === null ? `${after}!` : `${after} ${id} `;
    if (marker > from) from = marker;
  }
  const found: { key: string; row: Pick<UploadRow, 'id' | 'initiatedMs'> }[] = [];
  const prefixes = new Set<string>();
  let truncated = false;
  let last: { key: string; id: string } | null = null;
  const rows = from < to ? services.store.catalog.all<UploadRow>(from, to) : [];
  for await (const row of rows) {
    const key = decodeKey(row.key.slice(base.length, row.key.lastIndexOf(' ')));
    const at = delimiter === '' ? -1 : key.indexOf(delimiter, prefix.length);
    const common = at < 0 ? null : key.slice(0, at + delimiter.length);
    if (common !== null && prefixes.has(common)) continue;
    if (found.length + prefixes.size >= limit) {
      truncated = limit > 0;
      break;
    }
    if (common !== null) prefixes.add(common);
    else found.push({ key, row: { id: row.value.id, initiatedMs: row.value.initiatedMs } });
    last = common === null ? { key, id: row.value.id } : { key: common, id: '' };
  }
  answerXml(call, 'ListMultipartUploadsResult', {
    Bucket: request.bucket,
    KeyMarker: encode(keyMarker),
    UploadIdMarker: idMarker,
    ...(truncated && last !== null ? { NextKeyMarker: encode(last.key), NextUploadIdMarker: last.id } : {}),
    Prefix: encode(prefix),
    ...(delimiter === '' ? {} : { Delimiter: encode(delimiter) }),
    ...(request.param('encoding-type') === undefined ? {} : { EncodingType: 'url' }),
    MaxUploads: limit,
    IsTruncated: truncated,
    Upload: found.map(
      ({ key, row }): XmlValue => ({
        Key: encode(key),
        UploadId: row.id,
        Initiator: OWNER,
        Owner: OWNER,
        StorageClass: 'STANDARD',
        Initiated: new Date(row.initiatedMs).toISOString(),
      }),
    ),
    CommonPrefixes: [...prefixes].map((one) => ({ Prefix: encode(one) })),
  });
};

/** ListParts. */
export const listParts: Operation = async (call) => {
  const { request, services } = call;
  const { row } = await findUpload(call);
  const limit = Math.min(request.number('max-parts', 0, 2 ** 31 - 1) ?? LISTED, LISTED);
  const marker = request.number('part-number-marker', 0, 2 ** 31 - 1) ?? 0;
  const parts: XmlValue[] = [];
  let truncated = false;
  let last = 0;
  for await (const { number, row: part } of services.uploads.parts(row.value.id, Math.min(marker, 99_998))) {
    if (parts.length >= limit) {
      truncated = true;
      break;
    }
    last = number;
    parts.push({
      PartNumber: number,
      LastModified: new Date(part.modifiedMs).toISOString(),
      ETag: `"${part.etag}"`,
      Size: part.sizeBytes,
      ...checksumElement(part.checksum),
    });
  }
  answerXml(call, 'ListPartsResult', {
    Bucket: request.bucket,
    Key: request.key,
    UploadId: row.value.id,
    Initiator: OWNER,
    Owner: OWNER,
    StorageClass: 'STANDARD',
    PartNumberMarker: marker,
    ...(truncated ? { NextPartNumberMarker: last } : {}),
    MaxParts: limit,
    IsTruncated: truncated,
    ...(row.value.checksumName === null ? {} : { ChecksumAlgorithm: row.value.checksumName }),
    Part: parts,
  });
};
