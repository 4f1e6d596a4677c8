import type { Clock } from '../../common/clock.js';
import type { Logger } from '../../common/log.js';
import type { Io } from '../../io/types.js';
import type { Cluster } from '../cluster.js';
import { CatalogClient } from './catalog.js';
import { CatalogKeeper } from './catalog-keeper.js';
import { Collector } from './collector.js';
import { type ContentHash, verified } from './content-hash.js';
import { readContent } from './content-reader.js';
import { ContentWriter } from './content-writer.js';
import { type Extent, lengthOf } from './extent.js';
import {
  CodedWriter,
  readCoded,
  type StoredContent,
  slotBytes,
  streamMaxBytes,
  type WriteCoding,
} from './frames/index.js';
import { Grid } from './grid.js';
import { journalLayout } from './journal/index.js';
import { OpenObjects } from './open-objects.js';
import { PACKED_BYTES, PackWriter } from './pack-writer.js';
import type { ContentSink, Place } from './place.js';
import { Transfers } from './transfers.js';
import {
  type ImmutableLayout,
  type ObjectKind,
  UNKNOWN_SIZE_BYTES,
  WrittenObject,
} from './written-object.js';

export interface ImmutableStoreOptions {
  readonly cluster: Cluster;
  readonly io: Io;
  readonly clock: Clock;
  readonly log: Logger;
  readonly layout: ImmutableLayout;
}

/** A content that a row of the catalog names. */
export interface NamedContent extends StoredContent {
  readonly sizeBytes: number;
  readonly hash?: ContentHash | null;
  /** For messages. */
  readonly name: string;
}

/**
 * Immutable content: written once, as a stream, then only read or removed. It is there for others when a row of the catalog that
 * names its extents is committed, together with references that keep them (`references`); until then nobody sees it.
 */
export class ImmutableStore {
  readonly catalog: CatalogClient;
  readonly keeper: CatalogKeeper;
  readonly collector: Collector;
  private readonly options: ImmutableStoreOptions;
  private readonly open: OpenObjects;
  private readonly transfers: Transfers;
  private readonly packs: PackWriter;
  /** Of what is moved out of packs of another layout than this process makes, by that. */
  private readonly otherPacks = new Map<string, PackWriter>();

  constructor(options: ImmutableStoreOptions) {
    this.options = options;
    const { cluster, io, log, layout } = options;
    this.open = new OpenObjects(cluster, options);
    this.transfers = new Transfers(io);
    this.catalog = new CatalogClient(cluster.mds, {
      owe: (keys, room) => this.keeper.owed.begin(keys, room),
      keep: (record) => this.keeper.keep(record),
    });
    this.keeper = new CatalogKeeper({
      ...options,
      open: this.open,
      transfers: this.transfers,
      rows: this.catalog.plain,
      read: (extents) => this.read(extents),
      writer: async () => this.alone('checkpoint', UNKNOWN_SIZE_BYTES, await journalLayout(cluster)),
      finish: (writer) => this.finish(writer),
      released: (ids) => this.collector.released(ids),
    });
    this.packs = new PackWriter(cluster, this.open, layout, log);
    this.collector = new Collector({
      ...options,
      catalog: this.catalog,
      open: this.open,
      settle: () => this.keeper.owed.settle(),
      copy: (extents, layout) => this.copy(extents, false, layout),
    });
    this.open.onLeft = (id) => this.collector.ended(id);
  }

  /**
   * @param sizeBytes what will come, null where nobody knows
   * @param plain in an object of its own from its start, so that it can be the parent of a volume
   * @throws RawstorError UNSATISFIABLE, UNAVAILABLE
   */
  async writer(
    sizeBytes: number | null,
    plain = false,
    layout: ImmutableLayout = this.options.layout,
  ): Promise<ContentSink> {
    if (sizeBytes !== null && sizeBytes <= PACKED_BYTES && !plain) {
      return new ContentWriter(this.transfers, await this.packsOf(layout).take(sizeBytes));
    }
    return this.alone('object', sizeBytes ?? UNKNOWN_SIZE_BYTES, layout);
  }

  /** As `writer`, for content that is compressed or encrypted. @throws RawstorError NOT_SUPPORTED, LIMIT */
  codedWriter(sizeBytes: number, coding: WriteCoding): ContentSink {
    return new CodedWriter(this.transfers, sizeBytes, coding, async (bytes) => {
      if (bytes <= streamMaxBytes(PACKED_BYTES)) return this.packs.take(bytes);
      return this.placeAlone('object', bytes, this.options.layout);
    });
  }

  /** For a part of a content: in its place of the grid, null where it has none. @throws RawstorError NOT_SUPPORTED, LIMIT */
  gridWriter(grid: Grid, part: number, sizeBytes: number, coding: WriteCoding | null): ContentSink | null {
    const place = grid.place(part, sizeBytes, coding === null ? sizeBytes : slotBytes(sizeBytes));
    if (place === null) return null;
    if (coding === null) return new ContentWriter(this.transfers, place);
    const writer = new CodedWriter(this.transfers, sizeBytes, coding, async () => place);
    writer.place = place;
    return writer;
  }

  /** Ends a writer's content: durable, and sealed where it has an object of its own. `release` its place when it is on record. */
  async finish(writer: ContentSink): Promise<Extent[]> {
    const extents = await writer.finish();
    const { place } = writer;
    if (place?.alone === true) await place.object.seal(lengthOf(extents));
    return extents;
  }

  /** An object that parts of a content go to, each to its place. @throws RawstorError UNSATISFIABLE, UNAVAILABLE */
  async grid(): Promise<Grid> {
    const { cluster, layout } = this.options;
    const object = await WrittenObject.create(cluster, this.open, layout, 'object', UNKNOWN_SIZE_BYTES);
    return new Grid(object);
  }

  /** Cuts the object of a content that lies in it alone, whoever wrote it, so that it can be the parent of a volume. @throws RawstorError */
  async cut([extent]: readonly Extent[]): Promise<void> {
    if (extent !== undefined) await this.open.cut(extent);
  }

  /** A range of what is stored of a content, in order: that of a content that is neither compressed nor encrypted. @throws RawstorError */
  read(extents: readonly Extent[], from = 0, to = lengthOf(extents)): AsyncGenerator<Buffer, undefined> {
    return readContent(this.open, this.transfers, extents, from, to);
  }

  /**
   * A range of a content, in order.
   * @param key of its bucket, null where nobody has it or it takes none
   * @throws RawstorError CHECKSUM, DENIED, NOT_SUPPORTED
   */
  readRange(content: NamedContent, key: Uint8Array | null, from: number, to: number) {
    const { extents, coding, name } = content;
    if (coding == null) return this.read(extents, from, to);
    const stored = (start: number, end: number) => this.read(extents, start, end);
    return readCoded({ stored, coding, key, name }, from, to);
  }

  /** The whole of a content, compared with its hash where it has one. @throws RawstorError as `readRange` */
  readWhole(content: NamedContent, key: Uint8Array | null): AsyncGenerator<Buffer, undefined> {
    const { hash, sizeBytes, name } = content;
    const bytes = this.readRange(content, key, 0, sizeBytes);
    return hash == null ? bytes : verified(bytes, hash, name);
  }

  /**
   * Writes a content anew. The caller commits it, then releases the place.
   * @param plain as in `writer`
   * @param signal ends it
   */
  async copy(
    extents: readonly Extent[],
    plain = false,
    layout = this.options.layout,
    signal?: AbortSignal,
  ): Promise<{ extents: Extent[]; release: () => void | Promise<void> }> {
    const writer = await this.writer(lengthOf(extents), plain, layout);
    try {
      for await (const bytes of this.read(extents)) {
        signal?.throwIfAborted();
        await writer.write(bytes);
      }
      return { extents: await this.finish(writer), release: () => writer.release() };
    } catch (error) {
      await writer.abort();
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.collector.close();
    for (const packs of [this.packs, ...this.otherPacks.values()]) await packs.close();
    await this.keeper.close();
    await this.open.close();
  }

  private packsOf(layout: ImmutableLayout): PackWriter {
    const { cluster, log, layout: own } = this.options;
    const { replicas, minReplicas, stripeWidth, failureDomain } = layout;
    const same =
      replicas === own.replicas &&
      minReplicas === own.minReplicas &&
      stripeWidth === own.stripeWidth &&
      failureDomain === own.failureDomain;
    if (same) return this.packs;
    const name = [replicas, minReplicas, stripeWidth, failureDomain].join(' ');
    let packs = this.otherPacks.get(name);
    if (packs === undefined) {
      packs = new PackWriter(cluster, this.open, layout, log);
      this.otherPacks.set(name, packs);
    }
    return packs;
  }

  private async alone(kind: ObjectKind, sizeBytes: number, layout: ImmutableLayout): Promise<ContentSink> {
    return new ContentWriter(this.transfers, await this.placeAlone(kind, sizeBytes, layout));
  }

  private async placeAlone(kind: ObjectKind, sizeBytes: number, layout: ImmutableLayout): Promise<Place> {
    const object = await WrittenObject.create(this.options.cluster, this.open, layout, kind, sizeBytes);
    const release = () => object.close().catch(() => {});
    return { object, offset: 0, alone: true, release };
  }
}
