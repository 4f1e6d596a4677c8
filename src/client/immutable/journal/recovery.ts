import type { Clock } from '../../../common/clock.js';
import { asRawstorError, RawstorError } from '../../../common/errors.js';
import type { Logger } from '../../../common/log.js';
import { CATALOG_LIMITS } from '../../../protocol/catalog-messages.js';
import { decodeBody, encodeBody } from '../../../protocol/control.js';
import type { ObjectInfo } from '../../../protocol/object-info.js';
import type { Cluster } from '../../cluster.js';
import type { Extent } from '../extent.js';
import type { ContentSink } from '../place.js';
import { references } from '../references.js';
import { NAME_PREFIX } from '../written-object.js';
import { writeRows } from './checkpoint.js';
import { type CheckpointRow, type Frame, FrameReader } from './frames.js';
import { Merged } from './merge.js';
import { RecoveredRows } from './recovered-rows.js';
import { JOURNALLED_RANGES, type JournalRow, journalReference, journalRowKey, kindOf } from './rows.js';

export interface RecoveryParts {
  readonly cluster: Cluster;
  readonly clock: Clock;
  readonly log: Logger;
  read(extents: readonly Extent[]): AsyncGenerator<Buffer, undefined>;
  /** A writer to an object of its own, sealed by `finish`. */
  writer(): Promise<ContentSink>;
  finish(writer: ContentSink): Promise<Extent[]>;
}

export interface Recovered {
  readonly rows: number;
  readonly journals: number;
  /** Revision that the checkpoint, or the dump, was of; 0: from journals alone. */
  readonly from: number;
  readonly base: 'checkpoint' | 'dump' | 'journals';
  /** Rows that name data which is not there, some of them. */
  readonly withoutData: readonly string[];
  readonly withoutDataCount: number;
}

const PAGE = 200;
/** More often than the MDS takes it for dead. */
const ALIVE_MS = 5000;

interface Base {
  readonly from: number;
  readonly kind: Recovered['base'];
  /** Of a checkpoint. */
  readonly object?: ObjectInfo;
  rows(): AsyncGenerator<CheckpointRow, void>;
}

/**
 * Fills the catalog of an MDS that was made anew from what is on the OSTs, and maybe a dump: the latest base, and what journals say after it.
 * @returns null where it is not lost. @throws RawstorError BUSY when somebody else does it
 */
export async function recoverCatalog(parts: RecoveryParts): Promise<Recovered | null> {
  const { mds } = parts.cluster;
  const { state, dumpedRevision } = await mds.call('mds.catalogState', { mark: false });
  if (state !== 'lost') return null;
  const { token } = await mds.call('mds.catalogRecoverBegin', {}, 120_000);
  // Nobody else begins while this one reads.
  const alive = parts.clock.every(ALIVE_MS, () => {
    void mds.call('mds.catalogRecoverRows', { token, puts: [] }).catch(() => {});
  });
  try {
    return await fill(parts, token, dumpedRevision);
  } catch (error) {
    // So that the next try, here or elsewhere, does not wait until this one counts as dead.
    await mds.call('mds.catalogRecoverAbandon', { token }).catch(() => {});
    throw error;
  } finally {
    alive.cancel();
  }
}

async function fill(parts: RecoveryParts, token: number, dumpedRevision: number | null): Promise<Recovered> {
  const { mds } = parts.cluster;
  const objects = await listObjects(parts.cluster);
  const base = await newestBase(parts, objects, dumpedRevision);
  const merged = new Merged(base.from);
  const journals = objects.filter((object) => kindOf(object) === 'journal');
  const known: JournalRow[] = [];
  for (const object of journals) known.push(await readJournal(parts, object, merged));

  const ids = new Set(objects.map(({ id }) => id));
  const rows = new RecoveredRows(mds, token, ids);
  let count = 0;
  const put = async (key: string, value: Uint8Array) => {
    count++;
    await rows.put(key, value, referencesOf(key, value));
  };
  for await (const [key, revision, value] of base.rows()) {
    if (merged.keeps(key, revision)) await put(key, value);
  }
  for (const [key, { value }] of merged.latest) if (value !== null) await put(key, value);
  const kept = await keptBase(parts, base);
  if (kept !== null) known.push(kept);
  for (const row of known) {
    const reference = journalReference(row.objectId);
    const held = [{ key: reference.key, value: encodeBody(reference.value) }];
    await rows.put(journalRowKey(row.objectId), encodeBody(row), held);
  }
  await rows.flush();
  await mds.call('mds.catalogRecoverEnd', { token, above: merged.highest }, 120_000);
  const { withoutData, withoutDataCount } = rows;
  return {
    rows: count,
    journals: journals.length,
    from: base.from,
    base: base.kind,
    withoutData,
    withoutDataCount,
  };
}

/**
 * What was recovered from stays, as it was: no newer checkpoint takes its place before a person has confirmed that nothing is missing, as
 * that would hide what a journal says that comes back later. A dump has no place of its own here: it gets one.
 */
async function keptBase(parts: RecoveryParts, base: Base): Promise<JournalRow | null> {
  const { from: revision, object, kind } = base;
  if (object !== undefined) return { kind: 'checkpoint', objectId: object.id, revision, bytes: 0 };
  if (kind === 'journals') return null;
  const { objectId, bytes } = await writeRows(parts, revision, base.rows());
  return { kind: 'checkpoint', objectId, revision, bytes };
}

async function listObjects({ mds }: Cluster): Promise<ObjectInfo[]> {
  const found: ObjectInfo[] = [];
  for (let after = ''; ; ) {
    const { objects } = await mds.call('mds.list', { after, limit: PAGE });
    found.push(...objects);
    const last = objects.at(-1);
    if (last === undefined) return found;
    after = last.name;
  }
}

async function newestBase(
  parts: RecoveryParts,
  objects: readonly ObjectInfo[],
  dumpedRevision: number | null,
): Promise<Base> {
  const found: Base[] = [{ from: 0, kind: 'journals', rows: async function* () {} }];
  if (dumpedRevision !== null) {
    found.push({ from: dumpedRevision, kind: 'dump', rows: () => dumpedRows(parts.cluster, dumpedRevision) });
  }
  for (const object of objects) {
    if (kindOf(object) !== 'checkpoint') continue;
    const from = await checkpointMark(parts, object);
    if (from === null) continue;
    found.push({ from, kind: 'checkpoint', object, rows: () => checkpointRows(parts, object) });
  }
  return found.reduce((best, one) => (one.from > best.from || best.kind === 'journals' ? one : best));
}

/** Of a dump without a mark, made while something may have been missing, anything that a journal says is the truth. */
async function* dumpedRows({ mds }: Cluster, mark: number): AsyncGenerator<CheckpointRow, void> {
  for (const [start, to] of JOURNALLED_RANGES) {
    for (let from: string = start; ; ) {
      const asked = { from, to, limit: CATALOG_LIMITS.entries, dumped: true };
      const { entries, more } = await mds.call('mds.catalogRange', asked);
      for (const { key, version, value } of entries) yield [key, mark === 0 ? 0 : version, value];
      const last = entries.at(-1);
      if (!more || last === undefined) break;
      from = `${last.key} `;
    }
  }
}

async function* checkpointRows(parts: RecoveryParts, object: ObjectInfo) {
  for await (const frame of framesOf(parts, object)) if ('rows' in frame) yield* frame.rows;
}

/** @returns null for one that was not finished */
async function checkpointMark(parts: RecoveryParts, object: ObjectInfo): Promise<number | null> {
  let from: number | null = null;
  let rows = 0;
  try {
    for await (const frame of framesOf(parts, object)) {
      if ('from' in frame) from = frame.from;
      else if ('rows' in frame) rows += frame.rows.length;
      else if ('end' in frame) return frame.end.rows === rows ? from : null;
    }
  } catch (error) {
    parts.log.warn(
      { name: object.name, reason: asRawstorError(error).message },
      'a checkpoint is not readable',
    );
  }
  return null;
}

/** Frozen by that, when it was not: from then on nothing in it is answered to anybody. */
async function readJournal(parts: RecoveryParts, object: ObjectInfo, into: Merged): Promise<JournalRow> {
  let revision = 0;
  try {
    for await (const frame of framesOf(parts, object)) {
      if (!('records' in frame)) continue;
      for (const record of frame.records) {
        revision = Math.max(revision, record.revision);
        into.add(record);
      }
    }
  } catch (error) {
    const { code, message, where, hint } = asRawstorError(error);
    const of = where === undefined ? object.name : `${object.name}, ${where}`;
    throw new RawstorError(code, `a journal of the catalog cannot be read: ${message}`, {
      where: of,
      hint: hint ?? 'see whether all OSTs are there',
    });
  }
  return { kind: 'journal', objectId: object.id, revision, bytes: 0 };
}

async function* framesOf(
  parts: RecoveryParts,
  { id, sizeBytes }: ObjectInfo,
): AsyncGenerator<Frame, undefined> {
  const reader = new FrameReader();
  for await (const bytes of parts.read([{ objectId: id, version: 1, offset: 0, length: sizeBytes }])) {
    yield* reader.push(bytes);
    if (reader.ended) return;
  }
}

function referencesOf(key: string, value: Uint8Array): { key: string; value: Uint8Array }[] {
  const row = decodeBody(value) as { id?: unknown; extents?: unknown } | null;
  if (typeof row?.id !== 'string' || !Array.isArray(row.extents)) return [];
  const refs = references(key, row.id, row.extents as Extent[]);
  return refs.map((one) => ({ key: one.key, value: encodeBody(one.value) }));
}

/** Objects of the MDS that hold immutable data, journals aside. */
export const isContent = (object: ObjectInfo) =>
  object.mode === 'immutable' && object.name.startsWith(NAME_PREFIX) && kindOf(object) === null;
