import { parseId } from '../common/ids.js';
import { LIMITS } from '../common/limits.js';
import { encodeBody, type KeptObject, type ObjectRecord, type Result } from '../protocol/index.js';
import type { OstCore } from './core.js';
import type { OstObject } from './object.js';
import { objectChange } from './record-changes.js';

/** Objects looked at for one answer. */
const OBJECTS_PER_ANSWER = 1024;
/** Pages of regions read before others get a turn. */
const REGION_PAGES_AT_ONCE = 64;

/** What this OST keeps so that the metadata can be made anew from it (I13). */
export class KeptObjects {
  private readonly core: OstCore;

  constructor(core: OstCore) {
    this.core = core;
  }

  /** Durable when resolved; an older record than is here is passed over. @throws RawstorError NOT_FOUND, CONFLICT */
  keep(record: ObjectRecord): Promise<OstObject> {
    const { core } = this;
    const object = core.object(record.id, record);
    const kept = object.turn.then(async () => {
      const next = object.newerRecord(record);
      await core.commit([objectChange(next)]);
      object.becomes(next);
      return object;
    });
    // A removal waits for it, and attaches come after it.
    object.turn = kept.catch(() => {});
    return kept;
  }

  /** Objects after `after`, removed ones too, in the order of their ids; as many as one message holds. */
  async page(after: string | null): Promise<Result<'ost.objects'>> {
    const { records } = this.core;
    const removed = new Map(records.tombstones(after, OBJECTS_PER_ANSWER).map((one) => [one.id, one.wallMs]));
    const present = records.objectIds(after, OBJECTS_PER_ANSWER);
    const ids = [...new Set([...removed.keys(), ...present])].sort().slice(0, OBJECTS_PER_ANSWER);
    const objects: KeptObject[] = [];
    let bytes = 0;
    for (const id of ids) {
      // It lives elsewhere, and is on its way out here: that is no removal.
      if (records.tombstone(id)?.leaving === true) continue;
      const kept = await this.kept(id, removed.get(id) ?? null);
      bytes += encodeBody(kept).length;
      if (objects.length > 0 && bytes > LIMITS.answerBytes) return { objects, next: objects.at(-1)!.id };
      objects.push(kept);
    }
    return { objects, next: ids.length === OBJECTS_PER_ANSWER ? ids.at(-1)! : null };
  }

  private async kept(id: string, removedWallMs: number | null): Promise<KeptObject> {
    const { records } = this.core;
    const nothing = { record: null, set: null, lastSeal: 0, lossWallMs: null, fence: null, regionEpoch: 0 };
    if (removedWallMs !== null) return { id, removedWallMs, ...nothing };
    const regionEpoch = await this.highestRegion(parseId(id));
    const removal = records.tombstone(id);
    if (removal !== null) return { id, removedWallMs: removal.wallMs, ...nothing };
    // Read together after what takes time, so that they are of one moment.
    const { set, lastSeal = 0, lossWallMs = null } = records.set(id) ?? { set: null };
    const [record, fence] = [records.object(id), records.fence(id)];
    return { id, removedWallMs, record, set, lastSeal, lossWallMs, fence, regionEpoch };
  }

  private async highestRegion(key: Uint8Array): Promise<number> {
    const { records, env } = this.core;
    let from = { chunk: 0, version: 0, page: 0 };
    let highest = 0;
    for (;;) {
      const rows = records.scanRegions(key, from.chunk, from.version, from.page, REGION_PAGES_AT_ONCE);
      for (const { epochs } of rows) for (const epoch of epochs) if (epoch > highest) highest = epoch;
      const last = rows.at(-1);
      if (last === undefined || rows.length < REGION_PAGES_AT_ONCE) return highest;
      from = { chunk: last.chunk, version: last.version, page: last.page + 1 };
      await env.clock.sleep(0);
    }
  }
}
