import type { ChunkFile } from './chunk-file.js';

/** Entries looked at to find some to close. */
const LOOKED_AT = 64;
/** Closed at a time: more than are opened, so that what was opened while all were busy is closed again. */
const CLOSED_AT_ONCE = 2;

/**
 * The chunks that are open, and which of them to close when there are too many: idle ones, least recently used first (second chance). One that nobody
 * uses but that has something unflushed keeps all versions below it open too, 64 perhaps: it is synced, and closed then.
 */
export class OpenChunks implements Iterable<ChunkFile> {
  private readonly limit: number;
  private readonly close: (chunk: ChunkFile) => void;
  private readonly entries: ChunkFile[] = [];
  private hand = 0;

  constructor(limit: number, close: (chunk: ChunkFile) => void) {
    this.limit = limit;
    this.close = close;
  }

  get tooMany(): boolean {
    return this.entries.length > this.limit;
  }

  [Symbol.iterator](): Iterator<ChunkFile> {
    return [...this.entries][Symbol.iterator]();
  }

  add(chunk: ChunkFile): void {
    chunk.index = this.entries.push(chunk) - 1;
  }

  remove(chunk: ChunkFile): void {
    const last = this.entries.pop()!;
    if (last === chunk) return;
    this.entries[chunk.index] = last;
    last.index = chunk.index;
  }

  /** Closes a few of the next ones that can be; while all are busy there are more than the limit. */
  evict(): void {
    let closed = 0;
    let unflushed: ChunkFile | null = null;
    for (let tries = LOOKED_AT; tries > 0 && this.tooMany; tries--) {
      if (this.hand >= this.entries.length) this.hand = 0;
      const chunk = this.entries[this.hand]!;
      if (!chunk.used && chunk.idle) {
        // Another one comes to its place.
        this.close(chunk);
        if (++closed === CLOSED_AT_ONCE) return;
        continue;
      }
      if (!chunk.used && isUnflushed(chunk)) unflushed ??= chunk;
      chunk.used = false;
      this.hand++;
    }
    if (closed === 0 && unflushed !== null) flush(unflushed);
  }

  /** The system gives no more descriptors: everything that nobody uses now is closed, or on its way to that. */
  relieve(): void {
    for (const chunk of this) {
      if (chunk.idle) this.close(chunk);
      else if (isUnflushed(chunk)) flush(chunk);
    }
  }
}

const isUnflushed = ({ holders, ready, file, sync }: ChunkFile) =>
  holders === 0 && ready && file !== null && sync.dirty && !sync.running;

/** What it has unflushed is durable a little earlier than it had to be. Whose end lets it be closed. */
function flush(chunk: ChunkFile): void {
  chunk.sync.add({ syncDone: () => {} });
}
