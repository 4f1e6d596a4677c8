import { asRawstorError } from '../../../common/errors.js';
import type { Logger } from '../../../common/log.js';
import { prefixEnd } from '../../../common/prefix-end.js';
import { encodeBody } from '../../../protocol/control.js';
import type { Cluster } from '../../cluster.js';
import type { Extent } from '../extent.js';
import type { OpenObjects } from '../open-objects.js';
import type { ContentSink } from '../place.js';
import { referencesTo } from '../references.js';
import { type CheckpointRow, encodeFrame, FRAME_BODY_BYTES } from './frames.js';
import { JOURNAL_ROWS, JOURNALLED_RANGES, type JournalRow, journalReference, journalRowKey } from './rows.js';
import type { PlainRows } from './types.js';
import type { JournalWriter } from './writer.js';

export interface CheckpointParts {
  readonly cluster: Cluster;
  readonly open: OpenObjects;
  readonly rows: PlainRows;
  readonly journal: JournalWriter;
  readonly log: Logger;
  /** A writer to an object of its own, sealed by `finish`. */
  writer(): Promise<ContentSink>;
  finish(writer: ContentSink): Promise<Extent[]>;
}

export interface Checkpoint {
  readonly rows: number;
  readonly bytes: number;
  /** Objects that nothing needs any more. */
  readonly released: readonly string[];
}

/**
 * Writes all rows of the catalog to one object, and lets go of the journals whose changes are in it. Two at a time harm nobody: each
 * lets go only of what is older than itself.
 */
export async function writeCheckpoint(parts: CheckpointParts): Promise<Checkpoint> {
  const { cluster, rows, journal } = parts;
  await journal.rotate();
  const found: JournalRow[] = [];
  for await (const { value } of rows.all<JournalRow>(JOURNAL_ROWS, prefixEnd(JOURNAL_ROWS)))
    found.push(value);
  // Before the mark: a writer that is dead, or taken for it, adds nothing to a frozen one.
  const ended = new Set<string>();
  for (const { kind, objectId, revision } of found) {
    if (kind !== 'journal') continue;
    if (revision !== null || (await isAbandoned(parts, objectId))) ended.add(objectId);
  }
  const { revision: from } = await cluster.mds.call('mds.catalogState', { mark: true });
  if (from === null) throw new Error('the MDS gave no mark');
  const written = await writeRows(parts, from, rowsOf(parts));
  const over = found.filter(({ kind, objectId, revision }) =>
    kind === 'journal' ? ended.has(objectId) && (revision ?? 0) < from : (revision ?? 0) < from,
  );
  const row: JournalRow = {
    kind: 'checkpoint',
    objectId: written.objectId,
    revision: from,
    bytes: written.bytes,
  };
  const released = over.map(({ objectId }) => objectId);
  const own = [{ key: journalRowKey(written.objectId), value: row }, journalReference(written.objectId)];
  await rows.put(own, []);
  for (const objectId of released) {
    await rows.put([], [journalRowKey(objectId), `${referencesTo(objectId)}1/journal`]);
  }
  return { rows: written.rows, bytes: written.bytes, released };
}

async function* rowsOf({ rows }: CheckpointParts): AsyncGenerator<CheckpointRow, void> {
  for (const [start, end] of JOURNALLED_RANGES) {
    for await (const { key, version, value } of rows.all(start, end)) yield [key, version, encodeBody(value)];
  }
}

/** Rows with a mark, to an object of its own. Nothing refers to it yet. */
export async function writeRows(
  parts: Pick<CheckpointParts, 'writer' | 'finish'>,
  from: number,
  rows: AsyncIterable<CheckpointRow>,
): Promise<{ objectId: string; rows: number; bytes: number }> {
  const writer = await parts.writer();
  try {
    let count = 0;
    let bytes = 0;
    let gathered: CheckpointRow[] = [];
    let gatheredBytes = 0;
    const write = async (frame: Parameters<typeof encodeFrame>[0]) => {
      const encoded = encodeFrame(frame);
      bytes += encoded.length;
      await writer.write(encoded);
    };
    await write({ from });
    for await (const row of rows) {
      gathered.push(row);
      gatheredBytes += row[0].length + row[2].length + 32;
      count++;
      if (gatheredBytes < FRAME_BODY_BYTES) continue;
      await write({ rows: gathered });
      gathered = [];
      gatheredBytes = 0;
    }
    if (gathered.length > 0) await write({ rows: gathered });
    await write({ end: { rows: count } });
    const [extent] = await parts.finish(writer);
    return { objectId: extent!.objectId, rows: count, bytes };
  } finally {
    await writer.release();
  }
}

/** Nobody writes it: it is frozen, so that this stays so. One that cannot be is kept, for a later checkpoint. */
async function isAbandoned({ cluster, open, log }: CheckpointParts, objectId: string): Promise<boolean> {
  const { lease } = await cluster.mds.call('mds.getObj', { ref: objectId });
  if (lease !== null) return false;
  try {
    (await open.borrow({ objectId, version: 1, offset: 0, length: 0 })).release();
    return true;
  } catch (error) {
    log.warn({ id: objectId, reason: asRawstorError(error).message }, 'a journal cannot be frozen yet');
    return false;
  }
}
