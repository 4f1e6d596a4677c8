import { asRawstorError } from '../common/errors.js';
import { OBJECTS_PER_REPORT, type Params, type Result, UNKNOWN_TOLD } from '../protocol/index.js';
import type { OstCore } from './core.js';
import { removeEach } from './told-removals.js';

export type CollectOutcome = Result<'ost.collect'>;

/** Between two pages of objects: whoever works here goes first. */
const PAUSE_MS = 20;

type Ask = (report: Params<'mds.reportObjects'>) => Promise<Result<'mds.reportObjects'>>;

/**
 * Finds what is nobody's on this OST (docs/garbage.md). Whole objects by what the MDS says: it has them deleted by the
 * heartbeat, like all that was removed. Of objects that live here what the OST's own records say is over.
 */
export class Collector {
  private readonly core: OstCore;
  private readonly ask: Ask;
  private running: Promise<CollectOutcome> | null = null;

  constructor(core: OstCore, ask: Ask) {
    this.core = core;
    this.ask = ask;
  }

  /** One round at a time; who asks while one is under way waits for a round of its own. @throws RawstorError UNAVAILABLE */
  async run(dryRun: boolean): Promise<CollectOutcome> {
    while (this.running !== null) await this.running.catch(() => {});
    this.running = this.round(dryRun).finally(() => {
      this.running = null;
    });
    return this.running;
  }

  private async round(dryRun: boolean): Promise<CollectOutcome> {
    const { core } = this;
    const { records, env } = core;
    const outcome: CollectOutcome = {
      objects: 0,
      removed: [],
      left: [],
      unknown: [],
      strayChunks: 0,
      strayObjects: 0,
    };
    for (let after: string | null = null; !core.closing; ) {
      const ids = records.objectIds(after, OBJECTS_PER_REPORT);
      // What is being removed needs no more words.
      const here = ids.filter((id) => !core.removal.isRemoved(id));
      outcome.objects += here.length;
      await this.report(here, dryRun, outcome);
      for (const id of here) outcome.strayChunks += await this.strayChunks(id, dryRun);
      if (ids.length < OBJECTS_PER_REPORT) break;
      after = ids.at(-1)!;
      await env.clock.sleep(PAUSE_MS);
    }
    for (const id of await core.storage.objects()) await this.strayObject(id, dryRun, outcome);
    return outcome;
  }

  private async report(ids: readonly string[], dryRun: boolean, outcome: CollectOutcome): Promise<void> {
    if (ids.length === 0) return;
    const objects = ids.map((id) => ({ id, epoch: this.epochOf(id) }));
    const answer = await this.ask({ ostId: this.core.ostId, objects, dryRun });
    for (const kind of ['removed', 'left', 'unknown'] as const) {
      outcome[kind].push(...answer[kind].slice(0, UNKNOWN_TOLD - outcome[kind].length));
    }
  }

  /** The highest that is known here. */
  private epochOf(id: string): number {
    const { records } = this.core;
    const { epoch = 0 } = records.object(id) ?? {};
    return Math.max(epoch, records.set(id)?.set.epoch ?? 0, records.fence(id)?.sessionEpoch ?? 0);
  }

  private async strayChunks(id: string, dryRun: boolean): Promise<number> {
    const { core } = this;
    try {
      return await core.layers.strays.collect(id, dryRun);
    } catch (error) {
      if (core.removal.isRemoved(id) || core.closing) return 0;
      const reason = asRawstorError(error).toUserText();
      core.env.log.warn({ object: id, reason }, 'versions that are over cannot be removed yet');
      return 0;
    }
  }

  /**
   * Files of an object without a record. Where it was deleted, or has left, that is on record: a power loss has brought them
   * back. Else nobody knows what they are: they stay.
   */
  private async strayObject(id: string, dryRun: boolean, outcome: CollectOutcome): Promise<void> {
    const { records, removal, storage } = this.core;
    if (records.object(id) !== null) return;
    const removed = records.tombstone(id)?.done === true;
    const fence = records.fence(id);
    if (!removed && fence === null) {
      if (!removal.isRemoved(id) && outcome.unknown.length < UNKNOWN_TOLD) outcome.unknown.push(id);
      return;
    }
    outcome.strayObjects++;
    if (dryRun) return;
    if (removed) await storage.remove(id);
    else {
      await removeEach(
        [id],
        () => removal.leave(id, fence!.sessionEpoch),
        (_id, error) =>
          this.core.env.log.warn({ object: id, reason: error.toUserText() }, 'stray files stay'),
      );
    }
  }
}
