import type { Clock, Timer } from '../../common/clock.js';
import { asRawstorError, RawstorError } from '../../common/errors.js';
import type { Logger } from '../../common/log.js';
import { prefixEnd } from '../../common/prefix-end.js';
import { MiB } from '../../common/units.js';
import { type CatalogState, lifeOf } from '../../protocol/catalog-messages.js';
import type { Cluster } from '../cluster.js';
import type { Extent } from './extent.js';
import type { JournalRecord } from './journal/frames.js';
import {
  type Checkpoint,
  JOURNAL_ROWS,
  type JournalRow,
  JournalWriter,
  Owed,
  type PlainRows,
  type Recovered,
  recoverCatalog,
  writeCheckpoint,
} from './journal/index.js';
import type { OpenObjects } from './open-objects.js';
import type { ContentSink } from './place.js';
import type { Transfers } from './transfers.js';

export interface KeeperParts {
  readonly cluster: Cluster;
  readonly clock: Clock;
  readonly log: Logger;
  readonly open: OpenObjects;
  readonly transfers: Transfers;
  readonly rows: PlainRows;
  read(extents: readonly Extent[]): AsyncGenerator<Buffer, undefined>;
  writer(): Promise<ContentSink>;
  finish(writer: ContentSink): Promise<Extent[]>;
  released(objectIds: readonly string[]): Promise<void>;
}

/** A journal of this process is ended with so much, so that a checkpoint can take its place. */
const ROTATE_BYTES = 4 * MiB;
/** A checkpoint is due when journals hold more than this, and than the last one did; or when they are many. */
const DUE_BYTES = 8 * MiB;
const DUE_JOURNALS = 32;
const LOOK_MS = 5000;
const CHECKPOINT_LOOK_MS = 60_000;

/** Sees to it that what is in the catalog is on the OSTs too, and comes back from there. */
export class CatalogKeeper {
  private readonly parts: KeeperParts;
  private readonly journal: JournalWriter;
  readonly owed: Owed;
  private timer: Timer | null = null;
  private looking: Promise<void> | null = null;
  private told = '';
  private lookedMs = Number.NEGATIVE_INFINITY;

  constructor(parts: KeeperParts) {
    this.parts = parts;
    this.journal = new JournalWriter(parts);
    this.owed = new Owed({ rows: parts.rows, keep: (record) => this.keep(record) });
  }

  keep(record: JournalRecord): Promise<void> {
    return this.journal.append(record);
  }

  state(): Promise<{ state: CatalogState; life: number }> {
    return this.parts.cluster.mds.call('mds.catalogState', { mark: false });
  }

  /** Of a gateway, for as long as it runs: recovers a lost catalog, makes checkpoints. */
  async watch(): Promise<void> {
    this.timer ??= this.parts.clock.every(LOOK_MS, () => void this.look());
    await this.look();
  }

  /** @returns null where it is not lost. @throws RawstorError BUSY when somebody else does it */
  async recover(): Promise<Recovered | null> {
    const { log } = this.parts;
    const recovered = await recoverCatalog(this.parts);
    if (recovered === null) return null;
    log.warn({ ...recovered, withoutData: recovered.withoutData.slice(0, 20) }, 'the catalog was recovered');
    return recovered;
  }

  /** All that is in the catalog, to one object; what that makes needless goes. @throws RawstorError BUSY before it is confirmed */
  async checkpoint(): Promise<Checkpoint> {
    if ((await this.state()).state !== 'whole') {
      throw new RawstorError(
        'BUSY',
        'the catalog was recovered, and nobody has confirmed that nothing is missing',
        {
          hint: 'a checkpoint would hide what a journal says that comes back; see `rawstor s3 catalog show`',
        },
      );
    }
    const made = await writeCheckpoint({ ...this.parts, journal: this.journal });
    await this.parts.released(made.released);
    return made;
  }

  async journals(): Promise<JournalRow[]> {
    const found: JournalRow[] = [];
    const all = this.parts.rows.all<JournalRow>(JOURNAL_ROWS, prefixEnd(JOURNAL_ROWS));
    for await (const { value } of all) found.push(value);
    return found;
  }

  async close(): Promise<void> {
    this.timer?.cancel();
    await this.looking;
    await this.owed.close().catch(() => {});
    await this.journal.rotate();
  }

  private look(): Promise<void> {
    this.looking ??= this.lookOnce()
      .then(() => {
        this.told = '';
      }, this.failed)
      .finally(() => {
        this.looking = null;
      });
    return this.looking;
  }

  /** What keeps a catalog from being recovered, or from getting a checkpoint, is for people; once, as it comes again all the time. */
  private readonly failed = (error: unknown): void => {
    const { code, message, where, hint } = asRawstorError(error);
    const expected = code === 'BUSY' || code === 'CONNECTION_LOST' || code === 'TIMEOUT';
    const level = expected || message === this.told ? 'debug' : 'warn';
    if (!expected) this.told = message;
    this.parts.log[level]({ reason: message, where, hint }, 'the catalog is not looked after now');
  };

  private async lookOnce(): Promise<void> {
    const { clock } = this.parts;
    const { state, life } = await this.state();
    if (state === 'lost') return void (await this.recover());
    if (this.owed.hasUnkept) await this.owed.settle();
    if (clock.nowMs() - this.lookedMs < CHECKPOINT_LOOK_MS) return;
    this.lookedMs = clock.nowMs();
    // Of those that are dead, too.
    await this.owed.settle();
    if (this.journal.usedBytes > ROTATE_BYTES) await this.journal.rotate();
    if (state === 'whole' && isDue(await this.journals(), life)) await this.checkpoint();
  }
}

/**
 * Journals that were not ended count as if they held little: how much is known when they are.
 * @param life of the catalog: after a recovery was confirmed, one takes the place of what it was made from
 */
export function isDue(rows: readonly JournalRow[], life = 1): boolean {
  const journals = rows.filter(({ kind }) => kind === 'journal');
  if (life > 1 && rows.some(({ revision }) => revision !== null && lifeOf(revision) < life)) return true;
  const sum = (of: readonly JournalRow[]) => of.reduce((bytes, row) => bytes + row.bytes, 0);
  const checkpointBytes = sum(rows.filter(({ kind }) => kind === 'checkpoint'));
  return journals.length > DUE_JOURNALS || sum(journals) > Math.max(DUE_BYTES, checkpointBytes);
}
