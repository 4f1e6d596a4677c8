import type { CatalogClient } from '../client/index.js';
import { prefixEnd } from '../common/prefix-end.js';
import { decodeKey, encodeKey, encodeMarker, isBeyondKeys, ROW } from './names.js';

export interface Listed<T> {
  readonly entries: { readonly key: string; readonly value: T }[];
  readonly prefixes: string[];
  readonly truncated: boolean;
  /** The last key or common prefix of this page. */
  readonly last: string | null;
}

export interface ListQuery {
  readonly prefix: string;
  readonly delimiter: string;
  /** Only what is behind it; what is under a common prefix that it ends with is behind too. */
  readonly after: string;
  readonly limit: number;
}

const PAGE = 1000;
/** Rows asked for where the first may begin a common prefix, over which all others are read for nothing; twice as many while none does. */
const FIRST_ROWS = 2;

/**
 * A page of the keys of a bucket, in the order of their bytes: ranges of the catalog, each from where the last one ended, and over
 * a common prefix in one step. So a page costs the same wherever it is.
 * @param pick what is kept of a row until the page is full: whole rows may be large
 */
export async function listKeys<R, T>(
  catalog: Pick<CatalogClient, 'range'>,
  bucket: string,
  query: ListQuery,
  pick: (row: R) => T,
): Promise<Listed<T>> {
  const { prefix, delimiter, after, limit } = query;
  const base = ROW.keys(bucket);
  if (isBeyondKeys(prefix)) return { entries: [], prefixes: [], truncated: false, last: null };
  const to = prefixEnd(base + encodeKey(prefix));
  const entries: { key: string; value: T }[] = [];
  const prefixes: string[] = [];
  let last: string | null = null;
  let from = base + encodeKey(prefix);
  const start = base + encodeMarker(after);
  if (after !== '' && start >= from) {
    const isPrefix = delimiter !== '' && after.endsWith(delimiter) && after.startsWith(prefix);
    from =
      isPrefix && after.indexOf(delimiter, prefix.length) === after.length - delimiter.length
        ? prefixEnd(start)
        : `${start} `;
  }
  const few = delimiter === '' ? PAGE : FIRST_ROWS;
  let ask = few;
  if (limit === 0) return { entries, prefixes, truncated: false, last };
  while (from < to) {
    const left = limit - entries.length - prefixes.length;
    // One more tells whether there is more.
    const { rows, more } = await catalog.range<R>(from, to, Math.min(ask, left + 1));
    ask = Math.min(PAGE, ask * 2);
    let jumped = false;
    for (const row of rows) {
      if (entries.length + prefixes.length === limit) return { entries, prefixes, truncated: true, last };
      const key = decodeKey(row.key.slice(base.length));
      const at = delimiter === '' ? -1 : key.indexOf(delimiter, prefix.length);
      if (at < 0) {
        entries.push({ key, value: pick(row.value) });
        last = key;
        from = `${row.key} `;
        continue;
      }
      last = key.slice(0, at + delimiter.length);
      prefixes.push(last);
      from = prefixEnd(base + encodeKey(last));
      jumped = true;
      ask = few;
      break;
    }
    if (!jumped && !more) break;
  }
  return { entries, prefixes, truncated: false, last };
}
