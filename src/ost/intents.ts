import { asRawstorError } from '../common/errors.js';
import type { BatchTask, Io } from '../io/types.js';
import { errorOfStatus } from '../protocol/index.js';
import type { ChunkFile } from './chunk-file.js';
import { chunkChange, regionsChange } from './record-changes.js';
import type { RegionMirror, RegionPage } from './regions.js';
import type { Change } from './store.js';

/** A write that waits until its regions' epochs are durable (I2). */
export interface IntentWaiter {
  readonly intentChunk: ChunkFile;
  readonly intentOffset: number;
  readonly intentLength: number;
  readonly intentTag: number;
  /** `status` 0, or a wire status when the intent could not be recorded; the epochs are then as they were. */
  intentDone(status: number): void;
}

interface SealMark {
  chunks: readonly ChunkFile[];
  tag: number;
  /** With the number of regions. */
  resolve: (regions: number) => void;
  regions: number;
}

/**
 * Group commit of intents: all that is asked for while one commit runs goes into the next, as one
 * transaction and one flush of the records.
 */
export class IntentLog implements BatchTask {
  private readonly io: Pick<Io, 'schedule'>;
  private readonly commit: (changes: readonly Change[]) => Promise<void>;
  private readonly mirror: RegionMirror;
  private readonly wallMs: () => number;
  private waiting: IntentWaiter[] = [];
  private marks: SealMark[] = [];
  private committing = false;
  private scheduled = false;
  /** For metrics and tests. */
  commits = 0;

  constructor(
    io: Pick<Io, 'schedule'>,
    commit: (changes: readonly Change[]) => Promise<void>,
    mirror: RegionMirror,
    wallMs: () => number,
  ) {
    this.io = io;
    this.commit = commit;
    this.mirror = mirror;
    this.wallMs = wallMs;
  }

  add(waiter: IntentWaiter): void {
    this.waiting.push(waiter);
    this.arrange();
  }

  /** As a write of the range with that tag would. @throws RawstorError */
  async raise(chunk: ChunkFile, offset: number, length: number, tag: number): Promise<void> {
    const asked = { intentChunk: chunk, intentOffset: offset, intentLength: length, intentTag: tag };
    // As a write asks again: checksums may have been taken while the intent was on its way.
    while (!this.mirror.covers(chunk, offset, length, tag)) {
      const status = await new Promise<number>((intentDone) => this.add({ ...asked, intentDone }));
      if (status !== 0) throw errorOfStatus(status, chunk.where);
    }
  }

  /**
   * Before a seal: the next commit also marks these chunks' lately written regions for the next tag. Resolves with
   * how many when it is over, 0 when it failed: the writes will then ask for themselves.
   */
  mark(chunks: readonly ChunkFile[], tag: number): Promise<number> {
    return new Promise((resolve) => {
      this.marks.push({ chunks, tag, resolve, regions: 0 });
      this.arrange();
    });
  }

  runBatch(): void {
    this.scheduled = false;
    if (this.committing) return;
    const waiters = this.waiting;
    const marks = this.marks;
    this.waiting = [];
    this.marks = [];
    const pages: RegionPage[] = [];
    const fresh = new Set<ChunkFile>();
    for (const waiter of waiters) {
      const { intentChunk: chunk, intentOffset, intentLength, intentTag } = waiter;
      if (this.mirror.covers(chunk, intentOffset, intentLength, intentTag)) continue;
      this.mirror.want(chunk, intentOffset, intentLength, intentTag, pages);
      if (!chunk.recorded) fresh.add(chunk);
    }
    for (const mark of marks) {
      for (const chunk of mark.chunks) {
        if (chunk.recorded) mark.regions += this.mirror.wantRecent(chunk, mark.tag, pages);
      }
    }
    if (pages.length === 0) {
      for (const waiter of waiters) waiter.intentDone(0);
      for (const { resolve } of marks) resolve(0);
      return;
    }
    const changes: Change[] = [];
    for (const { object, chunk, version } of fresh) {
      changes.push(chunkChange(object.key, chunk, version, this.wallMs()));
    }
    for (const { chunk, number, wanted, sums } of pages) {
      changes.push(regionsChange(chunk.object.key, chunk.chunk, chunk.version, number, wanted!));
      sums?.addDrops(changes);
    }
    this.commits++;
    this.committing = true;
    this.commit(changes).then(
      () => {
        for (const chunk of fresh) chunk.recorded = true;
        this.settle(waiters, marks, pages, null);
      },
      (error) => this.settle(waiters, marks, pages, error),
    );
  }

  private arrange(): void {
    if (this.scheduled || this.committing) return;
    this.scheduled = true;
    this.io.schedule(this);
  }

  private settle(
    waiters: readonly IntentWaiter[],
    marks: readonly SealMark[],
    pages: readonly RegionPage[],
    error: unknown,
  ): void {
    this.committing = false;
    this.mirror.settle(pages, error === null);
    const status = error === null ? 0 : asRawstorError(error).wire;
    for (const waiter of waiters) waiter.intentDone(status);
    for (const { resolve, regions } of marks) resolve(error === null ? regions : 0);
    if (this.waiting.length > 0 || this.marks.length > 0) this.arrange();
  }
}
