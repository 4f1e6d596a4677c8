import { LIMITS } from '../common/limits.js';
import { sumsKey } from './checksums/sum-record.js';
import {
  chunkKey,
  decodeRegions,
  keyAfterPrefix,
  objectKey,
  parseChunkKey,
  parseRegionsKey,
  REGIONS_PER_PAGE,
  RecordType,
  regionsKey,
} from './record-codec.js';
import type { Change, DurableStore } from './store.js';

const VERSIONS_MAX = 2 * LIMITS.snapshotsPerVolume;
/** More than a chunk can have. */
const PAGES_MAX = 1 << 24;

/** Region epochs of one page, as a scan gives them. */
export interface RegionRow {
  chunk: number;
  version: number;
  page: number;
  epochs: Float64Array;
}

/** What is on record of single versions of chunks. */
export class VersionRecords {
  private readonly store: DurableStore;

  constructor(store: DurableStore) {
    this.store = store;
  }

  /** Chunks that were written to, by chunk and version, after `after` (null: from the first), at most `limit`. */
  chunks(
    id: Uint8Array,
    after: { chunk: number; version: number } | null,
    limit: number,
  ): { chunk: number; version: number }[] {
    const start =
      after === null ? objectKey(RecordType.CHUNK, id) : chunkKey(id, after.chunk, after.version + 1);
    const end = keyAfterPrefix(objectKey(RecordType.CHUNK, id));
    return this.store.range(start, end, limit).map(({ key }) => parseChunkKey(key));
  }

  /** Versions of a chunk that were written to. */
  versionsOf(id: Uint8Array, chunk: number): number[] {
    const end = chunkKey(id, chunk + 1, 0);
    return this.store
      .range(chunkKey(id, chunk, 0), end, VERSIONS_MAX)
      .map(({ key }) => parseChunkKey(key).version);
  }

  /** Pages `from` to `until` of region epochs of one version of a chunk, in order. */
  versionRegions(id: Uint8Array, chunk: number, version: number, from = 0, until = PAGES_MAX): RegionRow[] {
    const start = regionsKey(id, chunk, version, from);
    return regionRows(this.store, start, regionsKey(id, chunk, version, until), PAGES_MAX);
  }

  regionEpoch(id: Uint8Array, chunk: number, version: number, region: number): number {
    const page = Math.floor(region / REGIONS_PER_PAGE);
    const [row] = this.versionRegions(id, chunk, version, page, page + 1);
    return row?.epochs[region % REGIONS_PER_PAGE] ?? 0;
  }

  /**
   * Removes the checksums of one version of a chunk, in bounded transactions: also those that are only on their way here. There are none
   * of regions that were never written.
   */
  async removeSums(id: Uint8Array, chunk: number, version: number): Promise<void> {
    for (const { page, epochs } of this.versionRegions(id, chunk, version)) {
      const changes: Change[] = [];
      epochs.forEach((epoch, i) => {
        const key = () => sumsKey(id, chunk, version, page * REGIONS_PER_PAGE + i);
        if (epoch > 0) changes.push({ key: key(), value: null });
      });
      await this.store.commit(changes);
    }
  }

  /** Removes every record of one version of a chunk, in bounded transactions; that it was written to last. */
  async removeVersion(id: Uint8Array, chunk: number, version: number): Promise<void> {
    const place = chunkKey(id, chunk, version).subarray(17);
    for (const type of [
      RecordType.SUMS,
      RecordType.DAMAGE,
      RecordType.ZEROS,
      RecordType.REGIONS,
      RecordType.CHUNK,
    ]) {
      await removeAll(this.store, Buffer.concat([objectKey(type, id), place]));
    }
  }
}

export function regionRows(store: DurableStore, start: Buffer, end: Buffer, limit: number): RegionRow[] {
  return store.range(start, end, limit).map(({ key, value }) => {
    const epochs = new Float64Array(REGIONS_PER_PAGE);
    decodeRegions(value, epochs);
    return { ...parseRegionsKey(key), epochs };
  });
}

/** Removes every record whose key starts so, in bounded transactions. */
export async function removeAll(store: DurableStore, prefix: Buffer): Promise<void> {
  for (;;) {
    const pairs = store.range(prefix, keyAfterPrefix(prefix), 1024);
    if (pairs.length === 0) return;
    await store.commit(pairs.map(({ key }) => ({ key, value: null })));
  }
}
