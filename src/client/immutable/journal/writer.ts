import { RawstorError } from '../../../common/errors.js';
import type { Logger } from '../../../common/log.js';
import { MiB } from '../../../common/units.js';
import { lifeOf } from '../../../protocol/catalog-messages.js';
import type { Cluster } from '../../cluster.js';
import type { OpenObjects } from '../open-objects.js';
import { STEP_BYTES, type Transfers } from '../transfers.js';
import { WrittenObject } from '../written-object.js';
import { encodeFrame, FRAME_BODY_BYTES, type JournalRecord } from './frames.js';
import { journalLayout } from './layout.js';
import { type JournalRow, journalReference, journalRowKey } from './rows.js';
import type { PlainRows } from './types.js';

/** One journal; the next begins when it does not take more. */
const JOURNAL_BYTES = 64 * MiB;

interface Journal {
  readonly object: WrittenObject;
  /** Of the version that its records go to: a later one is after somebody has frozen it. */
  readonly version: number;
  /** Of the MDS that knows it. */
  readonly life: number;
  usedBytes: number;
  /** The highest in it. */
  revision: number;
}

interface Waiting {
  readonly record: JournalRecord;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export interface JournalWriterParts {
  readonly cluster: Cluster;
  readonly open: OpenObjects;
  readonly transfers: Transfers;
  readonly rows: PlainRows;
  readonly log: Logger;
}

/**
 * Keeps what this process changes in the catalog on the OSTs. What waits shares a write and a flush. A record is kept when it is durable
 * in a journal that nobody had frozen by then: who recovers the catalog freezes all of them first, so it finds all that was answered.
 */
export class JournalWriter {
  private readonly parts: JournalWriterParts;
  private journal: Journal | null = null;
  private waiting: Waiting[] = [];
  private running: Promise<void> | null = null;

  constructor(parts: JournalWriterParts) {
    this.parts = parts;
  }

  /** @throws RawstorError when it cannot be known to be kept */
  append(record: JournalRecord): Promise<void> {
    const kept = new Promise<void>((resolve, reject) => this.waiting.push({ record, resolve, reject }));
    this.run();
    return kept;
  }

  get usedBytes(): number {
    return this.journal?.usedBytes ?? 0;
  }

  get objectId(): string | null {
    return this.journal?.object.id ?? null;
  }

  /** Ends the journal, so that a checkpoint can take its place. */
  async rotate(): Promise<void> {
    while (this.running !== null) await this.running;
    const { journal } = this;
    this.journal = null;
    if (journal !== null) await this.end(journal);
  }

  private run(): void {
    this.running ??= this.writeAll().finally(() => {
      this.running = null;
      if (this.waiting.length > 0) this.run();
    });
  }

  private async writeAll(): Promise<void> {
    while (this.waiting.length > 0) {
      const group = this.nextGroup();
      try {
        await this.write(group.map(({ record }) => record));
        for (const { resolve } of group) resolve();
      } catch (error) {
        for (const { reject } of group) reject(error);
      }
    }
  }

  private nextGroup(): Waiting[] {
    let bytes = 0;
    let count = 0;
    for (const { record } of this.waiting) {
      bytes += 64;
      for (const [key, value] of record.puts) bytes += key.length + value.length + 16;
      for (const key of record.deletes) bytes += key.length + 8;
      if (count > 0 && bytes > FRAME_BODY_BYTES) break;
      count++;
    }
    return this.waiting.splice(0, count);
  }

  /** Where one journal fails, another is tried once: it may lie on other OSTs. */
  private async write(records: readonly JournalRecord[]): Promise<void> {
    const frame = encodeFrame({ records: [...records] });
    for (let tries = 1; ; tries++) {
      try {
        return await this.writeFrame(frame, records);
      } catch (error) {
        const { journal } = this;
        this.journal = null;
        if (journal !== null) await journal.object.close().catch(() => {});
        if (tries === 2) throw error;
      }
    }
  }

  private async writeFrame(frame: Buffer, records: readonly JournalRecord[]): Promise<void> {
    const { transfers } = this.parts;
    if (this.journal !== null && this.journal.usedBytes + frame.length > JOURNAL_BYTES) {
      const full = this.journal;
      this.journal = null;
      await this.end(full);
    }
    this.journal ??= await this.begin();
    const { journal } = this;
    // The catalog was recovered since, from journals without these.
    if (records.some(({ revision }) => lifeOf(revision) !== journal.life)) throw uncertain();
    for (let at = 0; at < frame.length; at += STEP_BYTES) {
      await transfers.write(
        journal.object.volume,
        journal.usedBytes + at,
        frame.subarray(at, at + STEP_BYTES),
      );
    }
    await transfers.flush(journal.object.volume);
    if (journal.object.version !== journal.version || !journal.object.usable) throw uncertain();
    journal.usedBytes += frame.length;
    for (const { revision } of records) journal.revision = Math.max(journal.revision, revision);
  }

  private async begin(): Promise<Journal> {
    const { cluster, open, rows } = this.parts;
    const layout = await journalLayout(cluster);
    const object = await WrittenObject.create(cluster, open, layout, 'journal', JOURNAL_BYTES);
    try {
      const { id, version } = object;
      const row: JournalRow = { kind: 'journal', objectId: id, revision: null, bytes: 0 };
      const put = await rows.put([{ key: journalRowKey(id), value: row }, journalReference(id)], []);
      return { object, version, life: lifeOf(put), usedBytes: 0, revision: 0 };
    } catch (error) {
      await object.close().catch(() => {});
      throw error;
    }
  }

  /** Where that fails, whoever makes the next checkpoint finds that it has no writer. */
  private async end({ object, revision, usedBytes }: Journal): Promise<void> {
    const { rows, log } = this.parts;
    try {
      await object.seal();
      const row: JournalRow = { kind: 'journal', objectId: object.id, revision, bytes: usedBytes };
      await rows.put([{ key: journalRowKey(object.id), value: row }], []);
    } catch (error) {
      log.debug({ reason: String(error) }, 'a journal was not ended');
    } finally {
      await object.close().catch(() => {});
    }
  }
}

function uncertain(): RawstorError {
  return new RawstorError('UNAVAILABLE', 'the change may be lost with the MDS', {
    hint: 'do it again: the catalog was being recovered, or the journal taken over',
  });
}
