import { NBD_LIMITS } from './constants.js';

/** Parsers of what options carry. A string answer is what is wrong with the data, for the client's eyes. */

export interface InfoQuery {
  readonly name: string;
  readonly infos: readonly number[];
}

export interface MetaQuery {
  readonly name: string;
  readonly queries: readonly string[];
}

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** A string of the protocol: UTF-8, no NUL, at most 4096 bytes. Null when it is not. */
export function parseName(bytes: Buffer): string | null {
  if (bytes.length > NBD_LIMITS.stringBytes || bytes.includes(0)) return null;
  try {
    return UTF8.decode(bytes);
  } catch {
    return null;
  }
}

/** INFO and GO: u32 length of name, name, u16 number of requests, u16 each. */
export function parseInfoQuery(data: Buffer): InfoQuery | string {
  if (data.length < 6) return 'option data is too short';
  const nameBytes = data.readUInt32BE(0);
  if (nameBytes > data.length - 6) return 'export name reaches past the option data';
  const name = parseName(data.subarray(4, 4 + nameBytes));
  if (name === null) return 'export name is not a string of at most 4096 bytes';
  const count = data.readUInt16BE(4 + nameBytes);
  if (data.length !== 6 + nameBytes + 2 * count) return 'option data does not hold its information requests';
  const infos: number[] = [];
  for (let i = 0; i < count; i++) infos.push(data.readUInt16BE(6 + nameBytes + 2 * i));
  return { name, infos };
}

/** LIST_ and SET_META_CONTEXT: u32 length of name, name, u32 number of queries, each u32 length, string. */
export function parseMetaQuery(data: Buffer): MetaQuery | string {
  if (data.length < 8) return 'option data is too short';
  const nameBytes = data.readUInt32BE(0);
  if (nameBytes > data.length - 8) return 'export name reaches past the option data';
  const name = parseName(data.subarray(4, 4 + nameBytes));
  if (name === null) return 'export name is not a string of at most 4096 bytes';
  const count = data.readUInt32BE(4 + nameBytes);
  let at = 8 + nameBytes;
  if (count > (data.length - at) / 4) return 'option data does not hold its queries';
  if (count > NBD_LIMITS.queriesPerOption) return 'too-big';
  const queries: string[] = [];
  for (let i = 0; i < count; i++) {
    if (data.length - at < 4) return 'option data does not hold its queries';
    const queryBytes = data.readUInt32BE(at);
    at += 4;
    if (queryBytes > data.length - at) return 'query reaches past the option data';
    const query = parseName(data.subarray(at, at + queryBytes));
    if (query === null) return 'query is not a string of at most 4096 bytes';
    if (!query.includes(':')) return 'query has no namespace';
    queries.push(query);
    at += queryBytes;
  }
  if (at !== data.length) return 'option data is longer than its queries';
  return { name, queries };
}
