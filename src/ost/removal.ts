import type { Timer } from '../common/clock.js';
import { asRawstorError, RawstorError } from '../common/errors.js';
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
  private finishing: Promise<void> | null = null;

  constructor(core: OstCore) {
    this.core = core;
  }

  isRemoved(id: string): boolean {
    return this.running.has(id) || this.core.records.isDeleted(id);
  }

  /**
   * Finishes what the last process began, behind what is served meanwhile, where that is possible: what is not is tried again
   * later. Of finished removals only the tombstone is read.
   */
  async open(): Promise<void> {
    await this.forgetOld();
    this.finishBegun();
    this.timer = this.core.env.clock.every(FORGET_PERIOD_MS, () => {
      this.forgetOld().catch((error) => {
        const reason = asRawstorError(error).toUserText();
        this.core.env.log.warn({ reason }, 'old removals cannot be forgotten yet');
      });
      this.finishBegun();
    });
  }

  /** Cuts short what is being removed, between two files; the next process goes on with it. */
  async close(): Promise<void> {
    this.timer?.cancel();
    await this.finishing;
    await Promise.allSettled(this.running.values());
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
    this.checkOpen(id);
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
    await core.storage.remove(id, () => this.checkOpen(id));
    core.space.freed(allocatedBytes);
    await core.records.removeObject(id, leaving);
    await core.commit([tombstoneChange(id, leaving ? null : { wallMs, done: true })]);
  }

  /** @throws RawstorError UNAVAILABLE */
  private checkOpen(id: string): void {
    if (!this.core.closing) return;
    throw new RawstorError('UNAVAILABLE', 'this OST is being stopped: it goes on removing when it is back', {
      where: id,
    });
  }

  private finishBegun(): void {
    this.finishing ??= this.finish()
      .catch((error) => {
        const reason = asRawstorError(error).toUserText();
        this.core.env.log.error({ reason }, 'removals that were begun cannot be looked for');
      })
      .finally(() => {
        this.finishing = null;
      });
  }

  private async finish(): Promise<void> {
    const { core } = this;
    for await (const page of this.pages()) {
      for (const { id, leaving } of page.filter(({ done }) => !done)) {
        if (core.closing) return;
        await this.begin(id, leaving).catch((error) => {
          if (core.closing) return;
          const reason = asRawstorError(error).toUserText();
          core.env.log.error({ object: id, reason }, 'a removed object cannot be deleted yet');
        });
      }
    }
  }

  private async forgetOld(): Promise<void> {
    const beforeMs = this.core.env.clock.wallMs() - REMEMBERED_MS;
    for await (const page of this.pages()) {
      const old = page.filter((one) => one.done && one.wallMs < beforeMs);
      if (old.length > 0) await this.core.commit(old.map(({ id }) => tombstoneChange(id, null)));
    }
  }

  private async *pages(): AsyncGenerator<Tombstone[]> {
    let after: string | null = null;
    for (;;) {
      const page = this.core.records.tombstones(after, PAGE);
      yield page;
      if (page.length < PAGE) return;
      after = page.at(-1)!.id;
    }
  }
}
