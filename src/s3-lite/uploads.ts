import { randomUUID } from 'node:crypto';
import {
  type ContentSink,
  exchanged,
  type ImmutableStore,
  type Row,
  type WriteCoding,
} from '../client/index.js';
import type { Clock } from '../common/clock.js';
import { prefixEnd } from '../common/prefix-end.js';
import { S3Error } from './errors.js';
import { GRID_LIMITS, Grids } from './grids.js';
import { ROW } from './names.js';
import type { BucketRow, PartRow, UploadRow } from './rows.js';

const TRIES = 12;

export interface FoundUpload {
  readonly row: Row<UploadRow>;
  readonly bucket: string;
  readonly key: string;
}

/** Multipart uploads: rows in the catalog, and here the objects that their parts go to. */
export class Uploads {
  private readonly store: ImmutableStore;
  private readonly grids: Grids;
  /** Ends what comes for an upload, by its id. */
  private readonly coming = new Map<string, Set<(error: S3Error) => void>>();

  constructor(store: ImmutableStore, clock: Clock, limits = GRID_LIMITS) {
    this.store = store;
    this.grids = new Grids(store, clock, limits);
  }

  /** @param bucket as it was when it said how the parts are stored. @throws S3Error SlowDown when it is another one by now */
  async begin(bucket: Row<BucketRow>, key: string, upload: Omit<UploadRow, 'id'>): Promise<string> {
    const id = randomUUID().replaceAll('-', '');
    const failed = await this.store.catalog.transact({
      checks: [{ key: bucket.key, version: bucket.version }],
      puts: [{ key: ROW.upload(bucket.value.name, key, id), value: { ...upload, id } }],
    });
    if (failed !== null) throw new S3Error('SlowDown', 'The bucket is being changed. Try again.');
    return id;
  }

  /** @throws S3Error NoSuchUpload */
  async find(bucket: string, key: string, id: string): Promise<FoundUpload> {
    const row = /^[0-9a-f]{32}$/.test(id)
      ? await this.store.catalog.get<UploadRow>(ROW.upload(bucket, key, id))
      : null;
    if (row !== null) return { row, bucket, key };
    throw noSuchUpload(id);
  }

  /** A part comes, from before it is looked whether its upload is there. @param end when it is not any more. @returns it has come, or has not */
  enter(id: string, end: (error: S3Error) => void): () => void {
    const coming = this.coming.get(id) ?? new Set();
    this.coming.set(id, coming.add(end));
    return () => {
      coming.delete(end);
      if (coming.size === 0 && this.coming.get(id) === coming) this.coming.delete(id);
    };
  }

  /** Where a part goes: to its place in the whole, else anywhere. */
  async writer(
    { row }: FoundUpload,
    part: number,
    lengthBytes: number,
    coding: WriteCoding | null,
  ): Promise<ContentSink> {
    const { id } = row.value;
    const grid = await this.grids.take(id, row.key);
    const writer = grid === undefined ? null : this.store.gridWriter(grid, part, lengthBytes, coding);
    return writer ?? (await this.anywhere(lengthBytes, coding));
  }

  private async anywhere(lengthBytes: number, coding: WriteCoding | null): Promise<ContentSink> {
    return coding === null ? this.store.writer(lengthBytes) : this.store.codedWriter(lengthBytes, coding);
  }

  /** Records a part that is on the OSTs. @throws S3Error NoSuchUpload, SlowDown */
  async put(upload: FoundUpload, part: number, row: PartRow): Promise<void> {
    const key = ROW.part(upload.row.value.id, part);
    let owner = upload.row;
    for (let i = 0; i < TRIES; i++) {
      const before = await this.store.catalog.get<PartRow>(key);
      const { puts, deletes } = exchanged(key, before?.value ?? null, row);
      const failed = await this.store.catalog.transact({
        checks: [
          { key: owner.key, version: owner.version },
          { key, version: before?.version ?? 0 },
        ],
        puts: [{ key, value: row }, ...puts],
        deletes,
      });
      if (failed === null) return;
      // Completed or aborted meanwhile; or its row came back from the loss of the MDS, with another version.
      if (failed === owner.key) owner = (await this.find(upload.bucket, upload.key, owner.value.id)).row;
    }
    throw new S3Error('SlowDown', 'The part is being changed by others all the time.');
  }

  /** From a part on, in their order. */
  async *parts(id: string, after = 0): AsyncGenerator<{ number: number; row: PartRow }, undefined> {
    const to = prefixEnd(ROW.parts(id));
    for await (const { key, value } of this.store.catalog.all<PartRow>(ROW.part(id, after + 1), to)) {
      yield { number: Number(key.slice(-5)), row: value };
    }
  }

  /** Freezes what its parts went to. @param sizeBytes of the whole, where the grid has all of it and nothing else */
  async seal(id: string, wholeOf: (objectId: string) => number | undefined): Promise<void> {
    const grid = await this.grids.get(id);
    if (grid === undefined) return;
    await grid.seal(wholeOf(grid.object.id));
  }

  /** It is completed or aborted: its parts go, and what nothing else refers to. */
  async end(id: string): Promise<void> {
    // Clients that are slow would hold up what is waited for here.
    for (const endPart of this.coming.get(id) ?? []) endPart(noSuchUpload(id));
    const grid = await this.grids.end(id);
    const deletes: string[] = [];
    const objects = new Set<string>(grid === undefined ? [] : [grid.object.id]);
    for await (const { number, row } of this.parts(id)) {
      const key = ROW.part(id, number);
      deletes.push(key, ...exchanged(key, row, null).deletes);
      for (const { objectId } of row.extents) objects.add(objectId);
    }
    await this.store.catalog.deleteAll(deletes);
    await this.store.collector.released(objects);
  }

  /** What is kept open here for uploads that were completed or aborted through another gateway. */
  private async letGo(): Promise<void> {
    for (const { id, row } of this.grids.rows())
      if ((await this.store.catalog.get(row)) === null) await this.end(id);
  }

  /** Parts whose upload is gone: it ended when its process did, or elsewhere. @returns uploads that were cleared */
  async sweep(): Promise<number> {
    const { catalog, keeper } = this.store;
    let cleared = 0;
    // After a recovery the row of the upload may be what is missing.
    if ((await keeper.state()).state !== 'whole') return cleared;
    // That an upload is gone may be in no journal: it would come back without its parts.
    await keeper.owed.settle();
    await this.letGo();
    for (let from = 'part/'; ; ) {
      const { rows } = await catalog.range<PartRow>(from, prefixEnd('part/'), 1);
      const [first] = rows;
      if (first === undefined) return cleared;
      const id = first.key.split('/')[1]!;
      if ((await catalog.get(first.value.upload)) === null) {
        await this.end(id);
        cleared++;
      }
      from = prefixEnd(ROW.parts(id));
    }
  }

  async close(): Promise<void> {
    await this.grids.close();
  }
}

export function noSuchUpload(id: string): S3Error {
  return new S3Error(
    'NoSuchUpload',
    'The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.',
    { UploadId: id.slice(0, 64) },
  );
}
