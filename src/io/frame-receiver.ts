import { RawstorError } from '../common/errors.js';
import { KiB } from '../common/units.js';
import { type BufferPool, LARGEST_BUFFER_BYTES, type PoolBuffer } from './pool.js';
import type { FrameHandler } from './types.js';

/** Gulps begin small, so that idle connections are cheap, and grow with the traffic. */
const GULP_BYTES = [4 * KiB, 16 * KiB, 64 * KiB, 256 * KiB] as const;
const FIRST_LEVEL = 1;
const LARGEST_LEVEL = GULP_BYTES.length - 1;
/** Gulps in a row that hardly use their buffer, before it becomes smaller. */
const QUIET_GULPS = 16;
/** Larger payloads that do not fit behind their header go into a buffer of their own. */
const DIRECT_MIN_BYTES = 32 * KiB;
/** Larger beginnings of a payload stay where they are as long as its end fits behind them. */
const COPY_MAX_BYTES = 16 * KiB;
/** After such a payload the next gulp is short: what it holds of the next payload must be copied. */
const SHORT_GULP_BYTES = 4 * KiB;

/**
 * Cuts a stream of bytes into frames. It says where the next bytes are wanted (`plan`), is told how many came
 * (`received`), and calls the handler for each whole frame. It knows no socket, so both implementations and
 * tests use it alike.
 *
 * Gulps go into a counted pool buffer, many frames into one. A handler may retain that buffer; then nothing
 * that it was shown is overwritten: receiving goes on behind it, or in a new buffer to which the tail moves.
 */
export class FrameReceiver {
  /** Where the next bytes go, in the pool's memory; valid after `plan` answered true. */
  targetOffset = 0;
  targetBytes = 0;
  /** The target is one payload: wait for all of it. */
  targetWhole = false;
  paused = false;
  /** Why parsing stopped, where the other side is to blame. */
  fault: RawstorError | null = null;
  readonly pool: BufferPool;

  private handler: FrameHandler | null = null;
  /** The handler that saw the header of the frame whose payload is awaited. */
  private frameHandler: FrameHandler | null = null;
  /** Payload of the current frame; -1 while its header is awaited. */
  private payloadBytes = -1;
  private gulp: PoolBuffer | null = null;
  private start = 0;
  private end = 0;
  private direct: PoolBuffer | null = null;
  private directEnd = 0;
  private afterDirect = false;
  private level = FIRST_LEVEL;
  private quietGulps = 0;
  private parsing = false;
  private stopped = false;

  constructor(pool: BufferPool) {
    this.pool = pool;
  }

  setHandler(handler: FrameHandler): void {
    this.handler = handler;
  }

  /** Bytes can be used: a handler is there, and neither paused nor stopped. */
  get wanting(): boolean {
    return this.handler !== null && !this.paused && !this.stopped;
  }

  /** Part of a frame has come. */
  get insideFrame(): boolean {
    return this.payloadBytes >= 0 || this.end > this.start;
  }

  /** Pool bytes it has for itself; handlers may have retained some of them. */
  get heldBytes(): number {
    return (this.gulp?.sizeBytes ?? 0) + (this.direct?.sizeBytes ?? 0);
  }

  /** More lies ready than the least that there may be. */
  get roomy(): boolean {
    return this.gulp !== null && this.gulp.sizeBytes > GULP_BYTES[0];
  }

  /** The next gulp is small again. What lies ready now goes back when nothing is being received: then `idle`. */
  shrink(idle: boolean): void {
    this.level = 0;
    this.quietGulps = 0;
    if (idle && !this.insideFrame) this.dropBuffers();
  }

  /** No frame is parsed from here on. */
  stop(): void {
    this.stopped = true;
  }

  /** Chooses where the next bytes go. False when the pool has no buffer now: try again when one is free. */
  plan(): boolean {
    if (this.payloadBytes > this.end - this.start && this.direct === null && !this.planDirect()) return false;
    if (this.direct !== null) {
      this.targetOffset = this.directEnd;
      this.targetBytes = this.direct.offset + this.payloadBytes - this.directEnd;
      this.targetWhole = true;
      return true;
    }
    const wanted = this.payloadBytes >= 0 ? this.payloadBytes : this.handler!.headerBytes;
    if (!this.makeRoom(wanted)) return false;
    const gulp = this.gulp!;
    this.targetOffset = this.end;
    this.targetBytes = gulp.offset + gulp.sizeBytes - this.end;
    if (this.afterDirect) {
      const short = Math.max(SHORT_GULP_BYTES, wanted - (this.end - this.start));
      // Never beyond the buffer, whatever is wanted: behind it are the bytes of others.
      this.targetBytes = Math.min(this.targetBytes, short);
    }
    this.targetWhole = false;
    return true;
  }

  /** As `plan`, for bytes that nobody wants. Only after `stop`. */
  planDiscard(): boolean {
    this.dropBuffers();
    this.gulp = this.pool.acquire(GULP_BYTES[FIRST_LEVEL]);
    if (this.gulp === null) return false;
    this.targetOffset = this.gulp.offset;
    this.targetBytes = this.gulp.sizeBytes;
    this.targetWhole = false;
    return true;
  }

  /** So many bytes came at the target. */
  received(lengthBytes: number): void {
    if (this.direct !== null) {
      this.directEnd += lengthBytes;
    } else {
      this.end += lengthBytes;
      this.adapt(lengthBytes);
    }
    this.parse();
  }

  /** Calls the handler for every whole frame there is. Harmless from within the handler. */
  parse(): void {
    if (this.parsing) return;
    this.parsing = true;
    try {
      while (!this.paused && !this.stopped && this.handler !== null && this.step());
    } finally {
      this.parsing = false;
    }
  }

  /** Gives the buffers back. */
  dispose(): void {
    this.stopped = true;
    this.dropBuffers();
  }

  private dropBuffers(): void {
    this.gulp?.release();
    this.direct?.release();
    this.gulp = null;
    this.direct = null;
    this.start = this.end = 0;
  }

  /** A header, or the payload after it. False when more bytes are needed. */
  private step(): boolean {
    if (this.payloadBytes < 0) {
      const handler = this.handler!;
      if (this.end - this.start < handler.headerBytes) return false;
      const at = this.start;
      this.start += handler.headerBytes;
      const payloadBytes = handler.header(this.pool.memory, at);
      if (payloadBytes < 0) {
        this.stopped = true;
        return false;
      }
      if (payloadBytes > LARGEST_BUFFER_BYTES) {
        const message = `a payload of ${payloadBytes} bytes is over the limit of ${LARGEST_BUFFER_BYTES}`;
        this.fault = new RawstorError('PROTOCOL', message);
        this.stopped = true;
        return false;
      }
      if (payloadBytes === 0) {
        handler.frame(null, 0, 0);
        return true;
      }
      this.frameHandler = handler;
      this.payloadBytes = payloadBytes;
      return !this.paused && !this.stopped;
    }
    const payloadBytes = this.payloadBytes;
    const direct = this.direct;
    if (direct !== null) {
      if (this.directEnd - direct.offset < payloadBytes) return false;
      this.direct = null;
      this.payloadBytes = -1;
      this.afterDirect = true;
      try {
        this.frameHandler!.frame(direct, direct.offset, payloadBytes);
      } finally {
        direct.release();
      }
      return true;
    }
    if (this.end - this.start < payloadBytes) return false;
    const at = this.start;
    this.start += payloadBytes;
    this.payloadBytes = -1;
    this.afterDirect = false;
    this.frameHandler!.frame(this.gulp!, at, payloadBytes);
    return true;
  }

  /** A large payload that does not fit behind what is there gets a buffer of its own. */
  private planDirect(): boolean {
    const gulp = this.gulp;
    const fits = gulp !== null && this.start + this.payloadBytes <= gulp.offset + gulp.sizeBytes;
    if (fits || this.payloadBytes < DIRECT_MIN_BYTES) return true;
    const direct = this.pool.acquire(this.payloadBytes);
    if (direct === null) return false;
    const bytes = this.pool.memory.bytes;
    bytes.copy(bytes, direct.offset, this.start, this.end);
    this.directEnd = direct.offset + this.end - this.start;
    this.start = this.end;
    this.direct = direct;
    return true;
  }

  /** A gulp buffer with room for `wanted` contiguous bytes from `start` on. */
  private makeRoom(wanted: number): boolean {
    const have = this.end - this.start;
    const gulp = this.gulp;
    const levelBytes = GULP_BYTES[this.pool.scarce ? 0 : this.level]!;
    if (gulp !== null) {
      const limit = gulp.offset + gulp.sizeBytes;
      const alone = gulp.refs === 1;
      if (alone && have === 0 && gulp.sizeBytes === levelBytes && wanted <= gulp.sizeBytes) {
        this.start = this.end = gulp.offset;
        return true;
      }
      const roomBehind =
        this.start + wanted <= limit && (limit - this.end >= gulp.sizeBytes / 4 || have >= COPY_MAX_BYTES);
      if (have > 0 && roomBehind && (!alone || gulp.sizeBytes >= levelBytes)) return true;
      if (have === 0 && !alone && roomBehind && gulp.sizeBytes === levelBytes) return true;
      if (alone && have > 0 && wanted <= gulp.sizeBytes && gulp.sizeBytes >= levelBytes) {
        this.pool.memory.bytes.copyWithin(gulp.offset, this.start, this.end);
        this.start = gulp.offset;
        this.end = gulp.offset + have;
        return true;
      }
    }
    // The old buffer goes back first where nothing in it is needed: with one buffer left that is the one.
    if (gulp !== null && have === 0) {
      this.gulp = null;
      gulp.release();
    }
    const next =
      this.pool.acquire(Math.max(levelBytes, wanted)) ?? this.pool.acquire(Math.max(wanted, have + 1));
    if (next === null) return false;
    if (this.gulp !== null) {
      const bytes = this.pool.memory.bytes;
      bytes.copy(bytes, next.offset, this.start, this.end);
      this.gulp.release();
    }
    this.gulp = next;
    this.start = next.offset;
    this.end = next.offset + have;
    return true;
  }

  private adapt(lengthBytes: number): void {
    if (lengthBytes === this.targetBytes) {
      this.quietGulps = 0;
      if (this.afterDirect) this.afterDirect = false;
      else if (this.level < LARGEST_LEVEL) this.level++;
    } else if (lengthBytes * 8 > GULP_BYTES[this.level]!) {
      this.quietGulps = 0;
    } else if (this.level > 0 && ++this.quietGulps >= QUIET_GULPS) {
      this.quietGulps = 0;
      this.level--;
    }
  }
}
