import { KiB } from '../common/units.js';
import type { BufferPool } from './pool.js';

/** How long a peer may stand still, holding memory that others are waiting for. */
const STALL_MS = 10_000;
/** When memory is refused, what lies ready for streams from which nothing comes in this time is taken back. */
const IDLE_MS = 200;
/** Less than this is no movement. */
const CRAWL_BYTES = 4 * KiB;

/** What is looked at of a stream. */
export interface Stallable {
  /** Counts bytes that arrived, or -1 while none is awaited for a message that has begun. */
  readonly arriving: number;
  /** Counts bytes that left, or -1 while none waits to leave. */
  readonly leaving: number;
  readonly receivedBytes: number;
  /** Gives most of the memory back that lies ready for what may come. */
  shrink(): void;
  stalled(): void;
}

/**
 * Buffers of the pool are held by messages that are half here and by answers that the peer has not taken yet. One
 * that stops there holds them for as long as it likes, and enough of those are all there is. So when the pool
 * has refused someone, and still does after a while, the streams that have hardly moved meanwhile are ended. Before that,
 * buffers that lie ready for streams from which nothing comes are made small. While there is memory nobody is hurried.
 */
export class StalledStreams {
  private readonly pool: BufferPool;
  private readonly streams: Iterable<Stallable>;
  private timer: NodeJS.Timeout | null = null;
  private idleTimer: NodeJS.Timeout | null = null;
  private refusedBytes = 0;
  private marks = new Map<Stallable, { arriving: number; leaving: number }>();

  constructor(pool: BufferPool, streams: Iterable<Stallable>) {
    this.pool = pool;
    this.streams = streams;
    pool.onRefused = (sizeBytes) => this.refused(sizeBytes);
  }

  close(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    if (this.idleTimer !== null) clearTimeout(this.idleTimer);
    this.pool.onRefused = null;
  }

  private refused(sizeBytes: number): void {
    this.idleTimer ??= this.lookForIdle();
    if (this.timer !== null) {
      this.refusedBytes = Math.min(this.refusedBytes, sizeBytes);
      return;
    }
    this.refusedBytes = sizeBytes;
    for (const stream of this.streams) {
      this.marks.set(stream, { arriving: stream.arriving, leaving: stream.leaving });
    }
    this.timer = setTimeout(() => this.look(), STALL_MS).unref();
  }

  private lookForIdle(): NodeJS.Timeout {
    const before = new Map<Stallable, number>();
    for (const stream of this.streams) before.set(stream, stream.receivedBytes);
    const shrink = () => {
      this.idleTimer = null;
      for (const stream of this.streams) if (before.get(stream) === stream.receivedBytes) stream.shrink();
    };
    return setTimeout(shrink, IDLE_MS).unref();
  }

  private look(): void {
    const { marks } = this;
    this.marks = new Map();
    this.timer = null;
    // If it fails, that is a refusal as any other: this looks again.
    const buffer = this.pool.acquire(this.refusedBytes);
    if (buffer !== null) {
      buffer.release();
      return;
    }
    const stood = (before: number, now: number) => before >= 0 && now >= 0 && now - before < CRAWL_BYTES;
    const still = Array.from(this.streams).filter((stream) => {
      const mark = marks.get(stream);
      if (mark === undefined) return false;
      return stood(mark.arriving, stream.arriving) || stood(mark.leaving, stream.leaving);
    });
    for (const stream of still) stream.stalled();
  }
}
