import { S3Error } from './errors.js';
import type { Condition } from './objects.js';
import type { ObjectRow } from './rows.js';

type Headers = (name: string) => string | undefined;

function names(header: string, etag: string): boolean {
  const plain = (text: string) => text.trim().replace(/^W\//, '').replace(/^"|"$/g, '');
  return header.split(',').some((one) => plain(one) === '*' || plain(one) === etag);
}

const failed = (header: string) =>
  new S3Error('PreconditionFailed', 'At least one of the pre-conditions you specified did not hold', {
    Condition: header,
  });

/** HTTP counts times in whole seconds. */
const seconds = (ms: number) => Math.floor(ms / 1000) * 1000;

function timeIn(header: string | undefined): number {
  return header === undefined ? Number.NaN : Date.parse(header);
}

/**
 * The conditions of a read (RFC 9110 section 13.2.2). @param prefix `x-amz-copy-source-` for the source of a copy
 * @returns whether it is not modified. @throws S3Error PreconditionFailed
 */
export function notModified(header: Headers, row: ObjectRow, prefix = ''): boolean {
  const match = header(`${prefix}if-match`);
  if (match !== undefined) {
    if (!names(match, row.etag)) throw failed('If-Match');
  } else if (timeIn(header(`${prefix}if-unmodified-since`)) < seconds(row.modifiedMs)) {
    throw failed('If-Unmodified-Since');
  }
  const none = header(`${prefix}if-none-match`);
  if (none !== undefined) return names(none, row.etag);
  return timeIn(header(`${prefix}if-modified-since`)) >= seconds(row.modifiedMs);
}

/** The conditions of a write, judged when it is committed; undefined where it has none. @throws S3Error NotImplemented for others than S3 knows */
export function writeCondition(header: Headers): Condition | undefined {
  const none = header('if-none-match');
  const match = header('if-match');
  if (none === undefined && match === undefined) return undefined;
  return (before) => {
    if (none !== undefined && before !== null && names(none, before.etag)) throw failed('If-None-Match');
    if (match === undefined) return;
    if (before === null) throw new S3Error('NoSuchKey', 'The specified key does not exist.');
    if (!names(match, before.etag)) throw failed('If-Match');
  };
}

/** @returns null for the whole. @throws S3Error InvalidRange */
export function rangeOf(header: string | undefined, size: number): { from: number; to: number } | null {
  const found = /^bytes=(\d*)-(\d*)$/.exec((header ?? '').trim());
  if (found === null) return null;
  const [, first = '', last = ''] = found;
  if (first === '' && last === '') return null;
  const from = first === '' ? Math.max(0, size - Number(last)) : Number(first);
  const to = first === '' || last === '' ? size : Math.min(Number(last) + 1, size);
  if (first !== '' && last !== '' && Number(last) < from) return null;
  if (from >= size || (first === '' && Number(last) === 0)) {
    throw new S3Error('InvalidRange', 'The requested range is not satisfiable', {
      RangeRequested: header ?? '',
      ActualObjectSize: String(size),
    });
  }
  return { from, to };
}
