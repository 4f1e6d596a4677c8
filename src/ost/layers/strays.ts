import { parseId } from '../../common/ids.js';
import type { ObjectRecord } from '../../protocol/index.js';
import type { OstCore } from '../core.js';
import { hasVersion } from './lineage.js';
import { neededBy } from './needed.js';

interface Place {
  readonly chunk: number;
  readonly version: number;
}

/** Chunk records looked at in one turn. */
const PAGE = 1024;

/**
 * Chunks of versions that an object had once, by the record that this OST keeps: they were forgotten when no OST had anything left of
 * them, and what is here all the same came back with a power loss or was on its way then. A version is used once, so the
 * oldest record is right about those it does not have any more; of versions above its head it says nothing.
 */
export class Strays {
  private readonly core: OstCore;

  constructor(core: OstCore) {
    this.core = core;
  }

  /** @returns how many there were @throws RawstorError */
  async collect(id: string, dryRun: boolean): Promise<number> {
    const { core } = this;
    const record = core.records.object(id);
    // The first version is the oldest: of most objects there is nothing to look for.
    if (record === null || record.headVersion === 1) return 0;
    const found = await this.find(record);
    if (found.length === 0 || dryRun) return found.length;
    const object = core.object(id, null);
    for (const { chunk, version } of found) {
      if (core.closing || core.removal.isRemoved(id)) return found.length;
      // By the record as it is now: it only ever loses versions.
      if (!isOver(object.record, version) || neededBy(core, object, version) !== null) continue;
      await core.layers.merger.remove(object, chunk, version);
    }
    await core.storage.syncDirectory(id);
    return found.length;
  }

  private async find(record: ObjectRecord): Promise<Place[]> {
    const { records, storage } = this.core;
    const key = parseId(record.id);
    const found = new Map<string, Place>();
    const add = (place: Place) => {
      if (isOver(record, place.version)) found.set(`${place.chunk}.${place.version}`, place);
    };
    for (const place of await storage.list(record.id)) add(place);
    let after: Place | null = null;
    for (;;) {
      const page: Place[] = records.versions.chunks(key, after, PAGE);
      page.forEach(add);
      if (page.length < PAGE) return [...found.values()];
      after = page.at(-1)!;
    }
  }
}

function isOver(record: ObjectRecord, version: number): boolean {
  return version < record.headVersion && !hasVersion(record, version);
}
