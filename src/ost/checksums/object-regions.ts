import type { OstCore } from '../core.js';
import type { OstObject } from '../object.js';
import { REGIONS_PER_PAGE } from '../record-codec.js';

const PAGES_AT_ONCE = 16;

export interface KnownRegion {
  readonly chunk: number;
  readonly version: number;
  readonly region: number;
  readonly epoch: number;
}

/** Regions of an object that were written to, in order, as the records have them when they are come by. */
export function* regionsOf(core: OstCore, { key }: OstObject): Generator<KnownRegion> {
  let from = { chunk: 0, version: 0, page: 0 };
  for (;;) {
    const rows = core.records.scanRegions(key, from.chunk, from.version, from.page, PAGES_AT_ONCE);
    for (const { chunk, version, page, epochs } of rows) {
      for (let slot = 0; slot < REGIONS_PER_PAGE; slot++) {
        const epoch = epochs[slot]!;
        if (epoch > 0) yield { chunk, version, region: page * REGIONS_PER_PAGE + slot, epoch };
      }
    }
    const last = rows.at(-1);
    if (last === undefined || rows.length < PAGES_AT_ONCE) return;
    from = { ...last, page: last.page + 1 };
  }
}

/** What is stored here of the object is meant to be what others have: else it will be copied over soon. */
export function isInSync(core: OstCore, { record }: OstObject): boolean {
  const stored = core.records.set(record.id)?.set;
  const members = stored !== undefined && stored.epoch > record.epoch ? stored.members : record.members;
  return members.find(({ ostId }) => ostId === core.ostId)?.state !== 'stale';
}
