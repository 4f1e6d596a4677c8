import type { Timer } from '../../common/clock.js';
import { asRawstorError } from '../../common/errors.js';
import { heirOf, namelessVersions } from '../../protocol/index.js';
import type { ChunkFile } from '../chunk-file.js';
import type { OstCore } from '../core.js';
import type { OstObject } from '../object.js';
import { passedVersions } from './lineage.js';
import { neededBy, neededError } from './needed.js';
import { VersionMerge } from './version-merge.js';

const RETRY_MS = 5000;
/** What a look takes that finds nothing to do: who asks is not told that something may be left just because of it. */
const LOOK_MS = 50;
/** Chunk records looked at in one turn. */
const PAGE = 1024;

/**
 * Gives back the space of removed snapshots: a version without a name that nothing lies over is deleted; one with one
 * version over it is merged into that one, chunk by chunk. Each OST does that by itself, for it changes nothing of what
 * any version of the record reads as; but not before a writer has asked, for a record alone may be of an MDS that was lost since, and what the
 * rebuilt one knows is that version as the head, or with its name.
 */
export class Merger {
  private readonly core: OstCore;
  private readonly running = new Map<string, Promise<void>>();
  /** Of these, the ones that touch files and records now. */
  private readonly working = new Map<string, Promise<boolean>>();
  private readonly again = new Set<string>();
  /** Ends the wait before something is tried again. */
  private readonly wake = new Map<string, () => void>();
  /** Versions that a writer has asked of: the MDS that there is now knows them as nameless. */
  private readonly asked = new Map<string, Set<number>>();
  /** What is needed by a clone, as logged last: one that asks again and again is told of once. */
  private readonly told = new Map<string, string>();
  private closing = false;

  constructor(core: OstCore) {
    this.core = core;
    core.records.clones.onGone = (parentId) => this.wake.get(parentId)?.();
  }

  /** The object's record may have nameless versions that are new here. */
  look(object: OstObject): void {
    const { id } = object.record;
    const nameless = this.isGone(object) ? [] : namelessVersions(object.record);
    // One that has its name back, or is the head again, would have to be asked of again.
    const asked = nameless.filter((version) => this.asked.get(id)?.has(version));
    if (asked.length === 0) {
      this.asked.delete(id);
      return;
    }
    this.asked.set(id, new Set(asked));
    if (this.running.has(id)) {
      this.again.add(id);
      return;
    }
    const run = this.run(object).finally(() => {
      this.running.delete(id);
      if (this.again.delete(id)) this.look(object);
    });
    this.running.set(id, run);
  }

  /** A writer wants these merged. */
  ask(object: OstObject, versions: readonly number[]): void {
    const { id } = object.record;
    this.asked.set(id, new Set([...(this.asked.get(id) ?? []), ...versions]));
    this.look(object);
  }

  /**
   * Which of the versions still have something here, once nothing is being done about them. When the time is over before that: all
   * of them, for something may be about to come into any.
   */
  async unmerged(object: OstObject, versions: readonly number[], waitMs: number): Promise<number[]> {
    this.ask(object, versions);
    const { clock } = this.core.env;
    const untilMs = clock.nowMs() + Math.max(LOOK_MS, waitMs);
    // What came to be done meanwhile follows in a run of its own.
    for (let running = this.running.get(object.record.id); running !== undefined; ) {
      const leftMs = untilMs - clock.nowMs();
      if (leftMs <= 0) return [...versions];
      await Promise.race([running, clock.sleep(leftMs)]);
      running = this.running.get(object.record.id);
    }
    const left = new Set(this.present(object).map(({ version }) => version));
    return versions.filter((version) => left.has(version));
  }

  /** Resolves when nothing is done any more about an object that is being removed. */
  async gaveUp(id: string): Promise<void> {
    this.asked.delete(id);
    await this.working.get(id);
  }

  async close(): Promise<void> {
    this.closing = true;
    for (const wake of this.wake.values()) wake();
    await Promise.all(this.running.values());
  }

  private isGone({ record }: OstObject): boolean {
    return this.closing || this.core.removal.isRemoved(record.id);
  }

  private async run(object: OstObject): Promise<void> {
    const { id } = object.record;
    const work = this.mergeAll(object);
    this.working.set(id, work);
    const done = await work.finally(() => this.working.delete(id));
    if (done) return;
    let timer: Timer | null = null;
    await new Promise<void>((resolve) => {
      this.wake.set(id, resolve);
      timer = this.core.env.clock.after(this.closing ? 0 : RETRY_MS, resolve);
    });
    (timer as Timer | null)?.cancel();
    this.wake.delete(id);
    this.again.add(id);
  }

  /** @returns whether there is nothing to try again */
  private async mergeAll(object: OstObject): Promise<boolean> {
    const { core } = this;
    const gone = () => this.isGone(object);
    const asked = this.asked.get(object.record.id) ?? new Set();
    let isDone = true;
    // Newest first: what lies between a version and the one that its data goes to has gone there before it.
    for (const version of namelessVersions(object.record).reverse()) {
      try {
        // Nor is one merged past another.
        if (passedVersions(object.record, version).some((one) => !asked.has(one))) continue;
        if (this.isNeeded(object, version)) {
          isDone = false;
          continue;
        }
        const heir = heirOf(object.record, version);
        this.endReaders(object, version);
        if (heir === null) continue;
        let removed = 0;
        for (const { chunk } of this.present(object).filter((one) => one.version === version)) {
          if (gone()) return true;
          if (heir !== 0) await this.merge(object, chunk, version, heir);
          else await this.remove(object, chunk, version);
          removed++;
        }
        if (removed > 0) await core.storage.syncDirectory(object.record.id);
      } catch (error) {
        const reason = asRawstorError(error).toUserText();
        if (gone()) return true;
        core.env.log.warn(
          { object: object.record.id, version, reason },
          'a removed snapshot is not merged yet',
        );
        return false;
      }
    }
    return isDone;
  }

  /** By a clone, whatever the catalog says. */
  private isNeeded(object: OstObject, version: number): boolean {
    const clone = neededBy(this.core, object, version);
    if (clone === null) return false;
    const { id } = object.record;
    if (this.told.get(id) !== clone.id) {
      const reason = neededError(clone, `version ${version} of object ${id}`).toUserText();
      this.core.env.log.info({ object: id, version, reason }, 'a removed snapshot is not merged yet');
    }
    this.told.set(id, clone.id);
    return true;
  }

  /** What they read is going. */
  private endReaders(object: OstObject, version: number): void {
    for (const session of [...object.readers]) {
      if (session.version === version) this.core.endSession(session);
    }
  }

  /** Chunks of versions that have records here. */
  private present(object: OstObject): { chunk: number; version: number }[] {
    const nameless = new Set(namelessVersions(object.record));
    const found: { chunk: number; version: number }[] = [];
    let after: { chunk: number; version: number } | null = null;
    for (;;) {
      const page = this.core.records.versions.chunks(object.key, after, PAGE);
      for (const one of page) if (nameless.has(one.version)) found.push(one);
      if (page.length < PAGE) return found;
      after = page.at(-1)!;
    }
  }

  private async merge(object: OstObject, number: number, version: number, over: number): Promise<void> {
    const { core } = this;
    const [into, from] = await Promise.all([
      this.open(object, number, over),
      this.open(object, number, version),
    ]);
    try {
      await new VersionMerge(core, object, from, into, () => this.isGone(object)).run();
    } finally {
      for (const one of [into, from]) {
        one.holders--;
        core.chunks.settled(one);
      }
    }
    await this.remove(object, number, version);
  }

  /** Everything of one version of a chunk. */
  async remove(object: OstObject, number: number, version: number): Promise<void> {
    const { core } = this;
    const file = await this.open(object, number, version);
    file.holders--;
    await core.chunks.empty(file, async (allocatedBytes) => {
      // First: of a file that is not there they would say that it is lost.
      await core.records.versions.removeSums(object.key, number, version);
      await core.storage.removeChunk(object.record.id, { chunk: number, version });
      core.space.freed(allocatedBytes);
      core.damage.forgetVersion(file);
      await core.records.versions.removeVersion(object.key, number, version);
    });
  }

  /** Open and held. */
  private async open(object: OstObject, number: number, version: number): Promise<ChunkFile> {
    const chunk = this.core.chunks.chunk(object, number, version);
    chunk.holders++;
    chunk.used = true;
    try {
      await this.core.chunks.ready(chunk);
    } catch (error) {
      chunk.holders--;
      throw error;
    }
    return chunk;
  }
}
