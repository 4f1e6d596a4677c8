import { z } from 'zod';
import { RawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import {
  CATALOG_STATES,
  type CatalogEntry,
  crc32c,
  idSchema,
  ostInfoSchema,
  type Result,
} from '../protocol/index.js';
import type { CatalogRecovery } from './catalog-recovery.js';
import { CATALOG_PREFIX, isDerived } from './catalog-rows.js';
import { leftSchema } from './left-copies.js';
import { storedOstSchema } from './osts.js';
import type { DumpedMds, DumpedOst } from './rebuild/index.js';
import { type MetadataStore, prefixRange } from './store.js';
import {
  decodeAs,
  decodeStored,
  LEFT_PREFIX,
  OBJECT_PREFIX,
  OST_PREFIX,
  type StoredObject,
  storedObjectSchema,
  TOMBSTONE_PREFIX,
} from './stored-object.js';
import { tombstoneSchema } from './tombstones.js';

/**
 * A dump of an MDS: JSON lines, docs/formats-mds.md. The first says what it is, the last how many there are and the
 * CRC-32C of all bytes before it, so that a dump that was cut short or changed is never loaded.
 */
const KIND = 'mds-dump';
/** Since 2: copies that are left behind, and marks of OSTs. Since 3: the catalog. */
const VERSION = 3;

const count = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);
const headerSchema = z.object({
  rawstor: z.literal(KIND),
  version: z.number().int(),
  clusterId: idSchema,
  takenWallMs: z.number(),
});
const entrySchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('ost'), ...storedOstSchema.shape, info: ostInfoSchema }),
  z.object({ type: z.literal('object'), stored: storedObjectSchema }),
  z.object({ type: z.literal('left'), ostId: idSchema, objectId: idSchema, ...leftSchema.shape }),
  z.object({ type: z.literal('catalog'), state: z.enum(CATALOG_STATES), revision: count }),
  z.object({ type: z.literal('row'), key: z.string(), revision: count, value: z.base64() }),
  z.object({ type: z.literal('removed'), objectId: idSchema, ostIds: z.array(idSchema) }),
]);
type Entry = z.infer<typeof entrySchema>;
const endSchema = z.object({
  type: z.literal('end'),
  lines: z.number().int(),
  crc32c: z.string().regex(/^[0-9a-f]{8}$/),
});

/** What is dumped, in the order of the keys. Names follow from the objects. */
const SECTIONS = [CATALOG_PREFIX, LEFT_PREFIX, OBJECT_PREFIX, OST_PREFIX, TOMBSTONE_PREFIX];
const PAGE = 256;
/** Keys of rows that hold secrets of S3. */
const SECRETS = 'access/';

/** Lines for the records after the key `after` ('' for the first), as many as one message holds. */
export async function dumpPage(
  store: MetadataStore,
  catalog: CatalogRecovery,
  after: string,
): Promise<Result<'mds.dump'>> {
  const lines: string[] = [];
  let bytes = 0;
  if (after === '') {
    // Of a catalog that is not recovered yet there is nothing to dump: whoever loads it asks the OSTs.
    const { state, revision } = await catalog.tell({ mark: true }).catch((error) => {
      // A mark is a write, and a dump is wanted most of a disk that takes none any more.
      if (!isUnwritable(error)) throw error;
      return catalog.tell({ mark: false });
    });
    // Without a mark where a journal may come back: what that says is then the truth, whatever is here.
    const marked = state === 'whole' ? (revision ?? 0) : 0;
    lines.push(JSON.stringify({ type: 'catalog', state, revision: marked }));
  }
  for (const section of SECTIONS) {
    const { from, to } = prefixRange(section);
    if (after >= to) continue;
    const start = after > from ? `${after} ` : from;
    const found = await store.range({ from: start, to, limit: PAGE });
    for (const [i, { key, value, version }] of found.entries()) {
      if (isDerived(key.slice(CATALOG_PREFIX.length)) && section === CATALOG_PREFIX) continue;
      const line = JSON.stringify(entryOf(key, value, catalog.revisionOf(version)));
      bytes += Buffer.byteLength(line) + 8;
      if (lines.length > 0 && bytes > LIMITS.answerBytes) return { lines, next: found[i - 1]?.key ?? after };
      lines.push(line);
    }
    const last = found.at(-1)?.key;
    if (last !== undefined && found.length === PAGE) return { lines, next: last };
    if (last !== undefined) after = last;
  }
  return { lines, next: null };
}

function isUnwritable(error: unknown): boolean {
  return error instanceof RawstorError && (error.code === 'NO_SPACE' || error.code === 'IO');
}

function entryOf(key: string, value: Uint8Array, revision: number): Entry {
  if (key.startsWith(CATALOG_PREFIX)) {
    const row = key.slice(CATALOG_PREFIX.length);
    return { type: 'row', key: row, revision, value: Buffer.from(value).toString('base64') };
  }
  if (key.startsWith(OBJECT_PREFIX)) return { type: 'object', stored: decodeStored(key, value) };
  if (key.startsWith(OST_PREFIX)) return { type: 'ost', ...decodeAs(storedOstSchema, key, value) };
  if (key.startsWith(LEFT_PREFIX)) {
    const [ostId = '', objectId = ''] = key.slice(LEFT_PREFIX.length).split('/');
    return { type: 'left', ostId, objectId, ...decodeAs(leftSchema, key, value) };
  }
  const objectId = key.slice(TOMBSTONE_PREFIX.length);
  return { type: 'removed', objectId, ...decodeAs(tombstoneSchema, key, value) };
}

/**
 * Without the rows of access keys. It is then no complete catalog, so that one that is made of it looks for them elsewhere.
 * @param lines of a dump
 */
export function withoutSecrets(lines: readonly string[]): string[] {
  return lines.flatMap((line) => {
    const entry = JSON.parse(line) as Entry;
    if (entry.type === 'row' && entry.key.startsWith(SECRETS)) return [];
    return entry.type === 'catalog' ? JSON.stringify({ ...entry, revision: 0 }) : line;
  });
}

/** Gives all lines of a dump, a page at a time. @param ask as `mds.dump` is asked */
export async function eachPage(
  ask: (after: string) => Promise<Result<'mds.dump'>>,
  take: (lines: readonly string[]) => Promise<void>,
): Promise<void> {
  for (let after: string | null = ''; after !== null; ) {
    const page: Result<'mds.dump'> = await ask(after);
    if (page.lines.length > 0) await take(page.lines);
    after = page.next;
  }
}

/** The text of a dump, piece by piece: all of it may be more than a string can have. */
export class DumpText {
  /** Lines but for the first and the last. */
  records = 0;
  sizeBytes = 0;
  private readonly header: string;
  private sum = 0;

  constructor(clusterId: string, takenWallMs: number) {
    this.header = JSON.stringify({ rawstor: KIND, version: VERSION, clusterId, takenWallMs });
  }

  begin(): Buffer {
    return this.piece([this.header]);
  }

  /** @param lines at least one */
  add(lines: readonly string[]): Buffer {
    this.records += lines.length;
    return this.piece(lines);
  }

  end(): Buffer {
    return this.piece([JSON.stringify({ type: 'end', lines: this.records + 2, crc32c: sumText(this.sum) })]);
  }

  private piece(lines: readonly string[]): Buffer {
    const bytes = Buffer.from(`${lines.join('\n')}\n`);
    this.sum = crc32c(bytes, 0, bytes.length, this.sum);
    this.sizeBytes += bytes.length;
    return bytes;
  }
}

function sumText(sum: number): string {
  return sum.toString(16).padStart(8, '0');
}

/** @param where for messages. @throws RawstorError BAD_DATA: damaged, cut short, no dump, or of another version */
export function parseDump(bytes: Uint8Array, where: string): DumpedMds & { takenWallMs: number } {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const bad = (message: string, hint = 'take another copy of it, or use `rawstor mds rebuild` without it') =>
    new RawstorError('BAD_DATA', message, { where, hint });
  const lineAt = (from: number, to: number, number: number): unknown => {
    try {
      return JSON.parse(text.toString('utf8', from, to));
    } catch {
      throw bad(`line ${number} of the dump is no JSON`);
    }
  };
  const firstEnd = text.indexOf(10);
  const header = firstEnd < 0 ? null : headerSchema.safeParse(lineAt(0, firstEnd, 1));
  if (header?.success !== true) throw bad('this is no dump of an MDS', 'make one with `rawstor mds dump`');
  if (header.data.version > VERSION) {
    throw bad(
      `the dump has version ${header.data.version}, this program knows ${VERSION}`,
      'use the version of the program that made it, or a newer one',
    );
  }
  const lastStart = text.lastIndexOf(10, text.length - 2) + 1;
  const whole = text.at(-1) === 10 && lastStart > firstEnd;
  const end = endSchema.safeParse(whole ? lineAt(lastStart, text.length, 0) : null);
  if (!end.success) throw bad('the dump is cut short: its last line is missing');
  const sum = sumText(crc32c(text, 0, lastStart));
  if (sum !== end.data.crc32c) throw bad(`the dump is damaged: its CRC is ${sum}, not ${end.data.crc32c}`);

  const osts: DumpedOst[] = [];
  const left: DumpedMds['left'][number][] = [];
  const objects: StoredObject[] = [];
  const removed: { objectId: string; ostIds: string[] }[] = [];
  const rows: CatalogEntry[] = [];
  let catalogRevision: number | null = null;
  let number = 1;
  for (let at = firstEnd + 1; at < lastStart; ) {
    const lineEnd = text.indexOf(10, at);
    number++;
    const entry = entrySchema.safeParse(lineAt(at, lineEnd, number));
    if (!entry.success)
      throw bad(`line ${number} of the dump is malformed: ${entry.error.issues[0]?.message}`);
    if (entry.data.type === 'ost') {
      const { info, draining, removed } = entry.data;
      osts.push({ ...info, draining, removed });
    } else if (entry.data.type === 'left') left.push(entry.data);
    else if (entry.data.type === 'catalog') catalogRevision = entry.data.revision;
    else if (entry.data.type === 'row') {
      const { key, revision, value } = entry.data;
      rows.push({ key, version: revision, value: Buffer.from(value, 'base64') });
    } else if (entry.data.type === 'object') objects.push(entry.data.stored);
    else removed.push({ objectId: entry.data.objectId, ostIds: entry.data.ostIds });
    at = lineEnd + 1;
  }
  if (number + 1 !== end.data.lines) throw bad(`the dump has ${number + 1} lines, not ${end.data.lines}`);
  const { clusterId, takenWallMs } = header.data;
  const catalog = catalogRevision === null ? null : { revision: catalogRevision, rows };
  return { clusterId, takenWallMs, osts, objects, removed, left, catalog };
}
