import type { Timer } from '../common/clock.js';
import { asRawstorError } from '../common/errors.js';
import { STATUS_STALE_SESSION } from '../protocol/index.js';
import type { OstCore } from './core.js';
import { checkNotNeeded } from './layers/needed.js';
import { tombstoneChange } from './record-changes.js';
import type { Tombstone } from './records.js';

/**
 * How long it is remembered that an object was removed. It keeps a late attach, and a rebuild of the metadata
 * from OSTs of which one was away, from bringing the object back. Forgetting is safe for data: ids are never
 * used again and the metadata server knows no such object, so what could come back is an empty record nobody reads.
 */
const HOUR_MS = 3_600_000;
const REMEMBERED_MS = 30 * 24 * HOUR_MS;
const FORGET_PERIOD_MS = HOUR_MS;
/** Tombstones looked at in one turn. */
const PAGE = 1024;

/** Removes objects for good, with a tombstone first, so that a removal that was cut short is taken up again. */
export class Removal {
  private readonly core: OstCore;
  /** From the moment the removal is asked for. */
  private readonly running = new Map<string, Promise<void>>();
  private timer: Timer | null = null;

  constructor(core: OstCore) {
    this.core = core;
  }

  isRemoved(id: string): boolean {
    return this.running.has(id) || this.core.records.isDeleted(id);
  }

  /** Finishes what the last process began, where that is possible: what is not is tried again later. Of finished removals only the tombstone is read. */
  async open(): Promise<void> {
    await this.sweep();
    this.timer = this.core.env.clock.every(FORGET_PERIOD_MS, () => {
      this.sweep().catch((error) => {
        const reason = asRawstorError(error).toUserText();
        this.core.env.log.warn({ reason }, 'old removals cannot be forgotten yet');
      });
    });
  }

  close(): void {
    this.timer?.cancel();
  }

  /** Done when resolved; of objects not known here nothing is left already. @throws RawstorError BUSY: a clone here lies over it */
  remove(id: string): Promise<void> {
    return this.begin(id, false);
  }

  /**
   * Deletes the copy here of an object that lives elsewhere since `epoch`. Unless a later session has been here: then
   * it has come back.
   */
  async leave(id: string, epoch: number): Promise<void> {
    const fence = this.core.objects.get(id)?.fence ?? this.core.records.fence(id);
    if (fence !== null && fence.sessionEpoch > epoch) return;
    await this.begin(id, true);
  }

  /** One that was begun, before a clone was known to be here, has to be finished: the files may be gone. */
  private async begin(id: string, leaving: boolean): Promise<void> {
    let running = this.running.get(id);
    if (running === undefined) {
      if (this.core.records.tombstone(id) === null) checkNotNeeded(this.core, id);
      running = this.run(id, leaving).finally(() => this.running.delete(id));
      this.running.set(id, running);
    }
    return running;
  }

  private async run(id: string, leaving: boolean): Promise<void> {
    const { core } = this;
    const wallMs = core.env.clock.wallMs();
    if (core.records.tombstone(id)?.done === true) return;
    await core.commit([tombstoneChange(id, { wallMs, done: false, leaving })]);
    const object = core.objects.get(id);
    if (object !== undefined) {
      await object.turn;
      // A merge would make anew what is removed here. It sees that the object goes, and ends within a region.
      await Promise.all([core.endSessions(object, STATUS_STALE_SESSION), core.layers.merger.gaveUp(id)]);
      await core.closeFiles(object);
      core.objects.delete(id);
    }
    core.damage.forget(id);
    const { allocatedBytes } = await core.storage.usage(id);
    await core.storage.remove(id);
    core.space.freed(allocatedBytes);
    await core.records.removeObject(id, leaving);
    await core.commit([tombstoneChange(id, leaving ? null : { wallMs, done: true })]);
  }

  private async sweep(): Promise<void> {
    const { records, env } = this.core;
    const beforeMs = env.clock.wallMs() - REMEMBERED_MS;
    let page: Tombstone[];
    let after: string | null = null;
    do {
      page = records.tombstones(after, PAGE);
      after = page.at(-1)?.id ?? null;
      for (const { id, done, leaving } of page) {
        if (done) continue;
        await this.begin(id, leaving).catch((error) => {
          const reason = asRawstorError(error).toUserText();
          env.log.error({ object: id, reason }, 'a removed object cannot be deleted yet');
        });
      }
      const old = page.filter((one) => one.done && one.wallMs < beforeMs);
      if (old.length > 0) await this.core.commit(old.map(({ id }) => tombstoneChange(id, null)));
    } while (page.length === PAGE);
  }
}
