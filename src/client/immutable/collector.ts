import type { Clock, Timer } from '../../common/clock.js';
import { asRawstorError, RawstorError } from '../../common/errors.js';
import type { Logger } from '../../common/log.js';
import { prefixEnd } from '../../common/prefix-end.js';
import type { ObjectInfo } from '../../protocol/object-info.js';
import type { Cluster } from '../cluster.js';
import type { CatalogClient, Row } from './catalog.js';
import { ChangedObjects } from './changed-objects.js';
import type { Extent } from './extent.js';
import type { OpenObjects } from './open-objects.js';
import { PACK_BYTES } from './pack-writer.js';
import { exchanged, type Reference, type Referring, referencesTo } from './references.js';
import { type ImmutableLayout, NAME_PREFIX } from './written-object.js';

export interface CollectorParts {
  readonly cluster: Cluster;
  readonly clock: Clock;
  readonly log: Logger;
  readonly catalog: CatalogClient;
  readonly open: OpenObjects;
  /** Has all that stands at the MDS in a journal. @throws RawstorError */
  settle(): Promise<void>;
  /** Writes content anew; `release` when it is on record. */
  copy(
    extents: readonly Extent[],
    layout: ImmutableLayout,
  ): Promise<{ extents: Extent[]; release: () => void | Promise<void> }>;
}

const PERIOD_MS = 60_000;
/** An object is younger than this between its creation and its first open. */
const YOUNG_MS = 60_000;
/** A pack that nothing refers to stays for so many times the age of an object that is young: whoever emptied it, others may still read there. */
const EMPTIED_TIMES = 5;
const PAGE = 200;
const CALL_TIMEOUT_MS = 10_000;

export interface Collected {
  removed: number;
  /** Contents that were moved out of packs that were mostly dead. */
  moved: number;
}

/**
 * Removes immutable objects that nothing refers to, and writes what lives in packs that are mostly dead to others. The MDS has
 * the last word: it removes nothing that is referred to, is held by a writer or has clones.
 */
export class Collector {
  private readonly parts: CollectorParts;
  private timer: Timer | null = null;
  private running: Promise<Collected> | null = null;
  private readonly changed = new ChangedObjects();
  private closed = false;
  /** Packs that nothing referred to when they were looked at here, and since when: who began to read before has a row of before. */
  private emptied = new Map<string, number>();
  /** What people were told last of why nothing can be removed. */
  private told = '';

  constructor(parts: CollectorParts) {
    this.parts = parts;
  }

  /** Of a gateway, for as long as it runs. */
  watch(): void {
    this.timer ??= this.parts.clock.every(PERIOD_MS, () => void this.round().catch(() => {}));
  }

  /** One of a gateway's looks: at what has changed since the last one, seldom at all, as each object is a call to the MDS. */
  round(youngMs = YOUNG_MS): Promise<Collected> {
    return this.begin(youngMs, this.changed.isAllDue(this.parts.clock.nowMs()));
  }

  /** This process does not write it any more; nothing may ever have named it. */
  ended(id: string): void {
    this.changed.note(id);
  }

  /** These may have lost their last reference. What is in use is left for later. */
  async released(objectIds: Iterable<string>): Promise<void> {
    for (const id of new Set(objectIds)) {
      // What lives on of a pack may be to be moved.
      this.changed.note(id);
      if (this.closed || this.parts.open.isUsed(id)) continue;
      try {
        if (await this.remove(id)) this.changed.forget(id);
      } catch (error) {
        this.parts.log.debug({ id, reason: asRawstorError(error).message }, 'not removed now');
      }
    }
  }

  /** Looks at all of them. @param youngMs objects younger than this are left alone */
  async run(youngMs: number): Promise<Collected> {
    await this.running?.catch(() => {});
    return this.begin(youngMs, true);
  }

  private begin(youngMs: number, all: boolean): Promise<Collected> {
    this.running ??= this.look(youngMs, all).finally(() => {
      this.running = null;
    });
    return this.running;
  }

  async close(): Promise<void> {
    this.closed = true;
    this.timer?.cancel();
    await this.running?.catch(() => {});
  }

  /** What nothing refers to, whoever may still be writing it. Bytes as the objects are long, not as they lie on disk. */
  async unnamed(): Promise<{ objects: number; bytes: number }> {
    const found = { objects: 0, bytes: 0 };
    for await (const object of this.immutable()) {
      if (object.lease !== null || (await this.isNamed(object.id))) continue;
      found.objects++;
      found.bytes += object.sizeBytes;
    }
    return found;
  }

  private async *immutable(): AsyncGenerator<ObjectInfo, void> {
    const { mds } = this.parts.cluster;
    for (let after = NAME_PREFIX; ; ) {
      const { objects } = await mds.call('mds.list', { after, limit: PAGE }, CALL_TIMEOUT_MS);
      for (const object of objects) {
        if (!object.name.startsWith(NAME_PREFIX)) return;
        after = object.name;
        if (object.mode === 'immutable') yield object;
      }
      if (objects.length === 0) return;
    }
  }

  private async isNamed(id: string): Promise<boolean> {
    const prefix = referencesTo(id);
    const { rows } = await this.parts.catalog.range(prefix, prefixEnd(prefix), 1);
    return rows.length > 0;
  }

  /** Those that are known to have changed. */
  private async *changedOnes(): AsyncGenerator<ObjectInfo, void> {
    const { cluster, open } = this.parts;
    for (const id of this.changed.known()) {
      if (open.isUsed(id)) continue;
      try {
        const object = await cluster.mds.call('mds.getObj', { ref: id }, CALL_TIMEOUT_MS);
        if (object.mode === 'immutable') yield object;
        else this.changed.forget(id);
      } catch (error) {
        if (asRawstorError(error).code !== 'NOT_FOUND') throw error;
        this.changed.forget(id);
      }
    }
  }

  private async look(youngMs: number, all: boolean): Promise<Collected> {
    const { cluster, clock, open, log } = this.parts;
    const collected: Collected = { removed: 0, moved: 0 };
    // Before a person has looked, what nothing refers to may be what a lost row named; the MDS would refuse it as well.
    const { state } = await cluster.mds.call('mds.catalogState', { mark: false }, CALL_TIMEOUT_MS);
    if (state !== 'whole') return collected;
    if (all) this.changed.beginAll();
    const empty = new Map<string, number>();
    for await (const object of all ? this.immutable() : this.changedOnes()) {
      if (this.closed) return collected;
      // What changes from here on is noted anew.
      this.changed.forget(object.id);
      const young = clock.wallMs() - object.createdWallMs < youngMs;
      try {
        const waits = object.lease !== null || young || open.isUsed(object.id);
        const done = !waits && (await this.lookAt(object, youngMs * EMPTIED_TIMES, empty, collected));
        if (!done) this.changed.note(object.id);
      } catch (error) {
        this.changed.note(object.id);
        log.debug({ name: object.name, reason: asRawstorError(error).message }, 'not collected now');
      }
    }
    this.emptied = empty;
    if (all) this.changed.endAll(clock.nowMs());
    return collected;
  }

  /** @returns there is nothing more to be done with it until it changes again */
  private async lookAt(
    object: ObjectInfo,
    stayMs: number,
    empty: Map<string, number>,
    collected: Collected,
  ): Promise<boolean> {
    const { clock, open } = this.parts;
    const moved = await this.compact(object);
    collected.moved += moved;
    if (isPack(object) && stayMs > 0 && !(await this.isNamed(object.id))) {
      const sinceMs = (moved === 0 ? this.emptied.get(object.id) : undefined) ?? clock.nowMs();
      empty.set(object.id, sinceMs);
      if (clock.nowMs() - sinceMs < stayMs) return false;
    }
    // Somebody here may have begun to read meanwhile.
    if (open.isUsed(object.id)) return false;
    if (await this.remove(object.id)) collected.removed++;
    return true;
  }

  /** Where that fails nothing is removed: said once, as it comes again with each object. */
  private async settled(): Promise<void> {
    try {
      await this.parts.settle();
      this.told = '';
    } catch (error) {
      const { message, where, hint } = asRawstorError(error);
      if (message !== this.told) {
        this.parts.log.warn(
          { reason: message, where, hint },
          'nothing is removed now: no journal takes what was removed from the catalog',
        );
      }
      this.told = message;
      throw error;
    }
  }

  private async remove(id: string): Promise<boolean> {
    const { cluster } = this.parts;
    if (await this.isNamed(id)) return false;
    // Whoever left it without a reference may be dead, and no journal know of it: then its row would come back without its data.
    await this.settled();
    try {
      await cluster.removeVolume(id, { timeoutMs: CALL_TIMEOUT_MS });
      return true;
    } catch (error) {
      const { code } = asRawstorError(error);
      // Referred to, or cloned, or opened meanwhile; or somebody else was faster.
      if (code === 'BUSY' || code === 'NOT_FOUND') return false;
      throw error;
    }
  }

  /** Of a pack of which most is dead. @returns how many contents were moved */
  private async compact(object: ObjectInfo): Promise<number> {
    const { catalog } = this.parts;
    if (!isPack(object)) return 0;
    const prefix = referencesTo(object.id);
    const live: Row<Reference>[] = [];
    let liveBytes = 0;
    for await (const row of catalog.all<Reference>(prefix, prefixEnd(prefix))) {
      live.push(row);
      liveBytes += row.value.length;
      if (liveBytes > PACK_BYTES / 2) return 0;
    }
    let moved = 0;
    for (const reference of live) {
      if (this.closed) return moved;
      if (await this.move(object, reference)) moved++;
    }
    return moved;
  }

  private async move(object: ObjectInfo, { key, value }: Row<Reference>): Promise<boolean> {
    const { id: objectId, replicas, minReplicas, stripeWidth, failureDomain } = object;
    const { catalog, copy } = this.parts;
    const row = await catalog.get<Referring>(value.row);
    if (row === null || !row.value.extents.some((one) => one.objectId === objectId)) {
      // Left by nothing that is known; the row that it was put with is gone.
      if (row === null) await catalog.transact({ checks: [{ key: value.row, version: 0 }], deletes: [key] });
      return false;
    }
    const content = row.value;
    // As safe as it was, whoever does this.
    const layout = { replicas, minReplicas, stripeWidth, failureDomain, near: null };
    const copied = await copy(content.extents, layout);
    try {
      const moved = { ...content, extents: copied.extents };
      const { puts, deletes } = exchanged(row.key, content, moved);
      const failed = await catalog.transact({
        checks: [{ key: row.key, version: row.version }],
        puts: [{ key: row.key, value: moved }, ...puts],
        deletes,
      });
      if (failed === null) return true;
      throw new RawstorError('CONFLICT', 'the content was changed meanwhile', { where: row.key });
    } finally {
      await copied.release();
    }
  }
}

function isPack({ name }: ObjectInfo): boolean {
  return name.startsWith(`${NAME_PREFIX}pack.`);
}
