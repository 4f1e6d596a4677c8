import { z } from 'zod';
import type { Clock } from '../common/clock.js';
import { asRawstorError } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import { Turn } from '../common/turn.js';
import { encodeBody, idSchema } from '../protocol/index.js';
import { follow } from './follow.js';
import { type MetadataStore, prefixRange, STORE_LIMITS, type StoreEntry } from './store.js';
import { decodeAs, TOMBSTONE_PREFIX } from './stored-object.js';

/** OSTs that have not confirmed the removal yet, and when it was. */
export const tombstoneSchema = z.object({ ostIds: z.array(idSchema), wallMs: z.number().default(0) });

/** The put that goes into the transaction which removes the object. */
export function putTombstone(
  objectId: string,
  ostIds: readonly string[],
  wallMs: number,
): { key: string; value: Uint8Array } {
  return { key: TOMBSTONE_PREFIX + objectId, value: encodeBody({ ostIds, wallMs }) };
}

const HOUR_MS = 3_600_000;
/** Between two looks for what can be forgotten; there is more of it only when something was removed. */
const SWEEP_MS = HOUR_MS;
/** Longer than OSTs remember it: what one brings back after that is told from what this MDS has lost. */
const REMEMBERED_MS = 60 * 24 * HOUR_MS;

const ATTEMPTS = 16;

/**
 * Removed objects whose OSTs have not all said that they gave the space back: an OST that was away learns of
 * the removal when it comes back. One record an object, kept for a while when all have; the index by OST is in memory.
 */
export class Tombstones {
  private readonly store: MetadataStore;
  private readonly byOst = new Map<string, Set<string>>();

  private readonly clock: Clock;
  private readonly log: Logger | undefined;
  private sweptAtMs = Number.NEGATIVE_INFINITY;

  constructor(store: MetadataStore, clock: Clock, log?: Logger) {
    this.store = store;
    this.clock = clock;
    this.log = log;
  }

  /** Reads what earlier runs left and follows the store from here. */
  start(): Promise<void> {
    return follow(this.store, TOMBSTONE_PREFIX, (key, value) => this.index(key, value));
  }

  /** Whether it is on record that the object was removed. */
  async has(objectId: string): Promise<boolean> {
    return (await this.store.get(TOMBSTONE_PREFIX + objectId)) !== null;
  }

  /** This OST has something of the removed object, too. */
  async add(objectId: string, ostId: string): Promise<void> {
    const key = TOMBSTONE_PREFIX + objectId;
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const entry = await this.store.get(key);
      if (entry === null) return;
      const { ostIds, wallMs } = decodeAs(tombstoneSchema, key, entry.value);
      if (ostIds.includes(ostId)) return;
      const puts = [putTombstone(objectId, [...ostIds, ostId], wallMs)];
      if ((await this.store.transact({ checks: [{ key, version: entry.version }], puts })).committed) return;
    }
    // It reports it again.
  }

  /** Some of the removed objects the OST has not confirmed. */
  pending(ostId: string, limit: number): string[] {
    const removed = this.byOst.get(ostId);
    const found: string[] = [];
    for (const objectId of removed ?? []) {
      if (found.length >= limit) break;
      found.push(objectId);
    }
    // The others come first with the next answer: these may be refused again and again.
    if (found.length === limit) for (const id of found) if (removed?.delete(id)) removed.add(id);
    return found;
  }

  async confirm(ostId: string, objectIds: readonly string[]): Promise<void> {
    this.sweepSometimes();
    for (let at = 0; at < objectIds.length; at += STORE_LIMITS.operations) {
      await this.confirmSome(ostId, objectIds.slice(at, at + STORE_LIMITS.operations));
    }
  }

  /** Beside what asked for it: an OST waits for the answer. */
  private sweepSometimes(): void {
    if (this.clock.nowMs() - this.sweptAtMs < SWEEP_MS) return;
    this.sweptAtMs = this.clock.nowMs();
    this.sweep().catch((error) => {
      this.log?.error(
        { reason: asRawstorError(error).toUserText() },
        'removals of long ago are not forgotten now',
      );
    });
  }

  private async confirmSome(ostId: string, objectIds: readonly string[]): Promise<void> {
    const wanted = [...new Set(objectIds)];
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const checks: { key: string; version: number }[] = [];
      const puts: { key: string; value: Uint8Array }[] = [];
      for (const objectId of wanted) {
        const key = TOMBSTONE_PREFIX + objectId;
        const entry = await this.store.get(key);
        if (entry === null) continue;
        const { ostIds, wallMs } = decodeAs(tombstoneSchema, key, entry.value);
        const left = ostIds.filter((id) => id !== ostId);
        if (left.length === ostIds.length) continue;
        checks.push({ key, version: entry.version });
        puts.push(putTombstone(objectId, left, wallMs));
      }
      if (checks.length === 0) return;
      if ((await this.store.transact({ checks, puts })).committed) return;
    }
    // Left as it is: the OST is told again and confirms again.
  }

  /** Forgets removals of long ago that every OST has confirmed. */
  private async sweep(): Promise<void> {
    const beforeMs = this.clock.wallMs() - REMEMBERED_MS;
    const turn = new Turn(this.clock);
    const { from, to } = prefixRange(TOMBSTONE_PREFIX);
    for (let start = from; ; ) {
      const page = await this.store.range({ from: start, to, limit: STORE_LIMITS.operations });
      const old: StoreEntry[] = [];
      for (const entry of page) {
        const { ostIds, wallMs } = decodeAs(tombstoneSchema, entry.key, entry.value);
        if (ostIds.length === 0 && wallMs < beforeMs) old.push(entry);
        await turn.rest();
      }
      // One that was changed meanwhile keeps the others of its page until the next sweep.
      const checks = old.map(({ key, version }) => ({ key, version }));
      if (old.length > 0) await this.store.transact({ checks, deletes: old.map(({ key }) => key) });
      if (page.length < STORE_LIMITS.operations) return;
      start = `${page.at(-1)!.key} `;
    }
  }

  private index(key: string, value: Uint8Array | null): void {
    const objectId = key.slice(TOMBSTONE_PREFIX.length);
    const ostIds = value === null ? [] : decodeAs(tombstoneSchema, key, value).ostIds;
    for (const ostId of ostIds) {
      const pending = this.byOst.get(ostId) ?? new Set();
      this.byOst.set(ostId, pending.add(objectId));
    }
    for (const [ostId, pending] of this.byOst) {
      if (ostIds.includes(ostId)) continue;
      if (pending.delete(objectId) && pending.size === 0) this.byOst.delete(ostId);
    }
  }
}
