import { randomBytes } from 'node:crypto';
import { RawstorError } from '../../../common/errors.js';
import { type ContentHash, ContentHasher } from '../content-hash.js';
import type { Extent } from '../extent.js';
import { Gathering } from '../gathering.js';
import type { ContentSink, Place } from '../place.js';
import { Steps } from '../steps.js';
import { STEP_BYTES, type Transfers } from '../transfers.js';
import { checkCompression, compress, METHODS, PLAIN_METHOD } from './codec.js';
import type { Coding, WriteCoding } from './coding.js';
import { FRAME_BYTES, type FrameEntry, frameCount, indexBytes, putIndex, streamMaxBytes } from './layout.js';
import { FrameSeal, SALT_BYTES } from './seal.js';

/** Frames of one content that are compressed ahead of what is written. */
const AHEAD = 8;
/** After so many frames that did not shrink only one of so many is tried. */
const HOPELESS = 16;

interface Frame {
  readonly method: number;
  readonly bytes: Buffer;
}

/**
 * Streams one content as a stream of frames: each compressed, where that pays, then sealed. The first step has the index, and is written last. A content
 * that fits it asks for a place no larger than it is; a longer one for one that is large enough whatever comes.
 */
export class CodedWriter implements ContentSink {
  place: Place | null = null;
  private readonly plainBytes: number;
  private readonly coding_: WriteCoding;
  private readonly take: (bytes: number) => Promise<Place>;
  private readonly steps: Steps;
  private readonly hasher = new ContentHasher();
  private readonly salt: Buffer | null;
  private readonly seal: FrameSeal | null;
  private readonly entries: FrameEntry[] = [];
  private readonly queue: Promise<Frame>[] = [];
  private readonly frame = new Gathering(FRAME_BYTES);
  private seenBytes = 0;
  private numbered = 0;
  private hopeless = 0;
  private first: Buffer | null = null;
  private readonly gathering = new Gathering(STEP_BYTES);
  /** Of the stream, with what is gathered. */
  private end: number;
  private stepAt = 0;
  private told = false;

  /**
   * @param plainBytes what will come
   * @param take where it goes, asked once
   * @throws RawstorError NOT_SUPPORTED, LIMIT
   */
  constructor(
    transfers: Transfers,
    plainBytes: number,
    coding: WriteCoding,
    take: (bytes: number) => Promise<Place>,
  ) {
    const { compression, key } = coding;
    if (compression !== null) checkCompression(compression);
    const index = indexBytes(frameCount(plainBytes));
    if (index > STEP_BYTES / 2)
      throw new RawstorError('LIMIT', 'the content is too long for one stream of frames');
    this.steps = new Steps(transfers);
    this.plainBytes = plainBytes;
    this.coding_ = coding;
    this.take = take;
    this.salt = key === null ? null : randomBytes(SALT_BYTES);
    this.seal = this.salt === null ? null : new FrameSeal(key!, this.salt, plainBytes);
    // At most half a step: it is never full by that.
    void this.gathering.add(Buffer.alloc(index), () => this.step());
    this.end = index;
  }

  async write(bytes: Buffer): Promise<void> {
    this.hasher.update(bytes);
    this.seenBytes += bytes.length;
    await this.frame.add(bytes, () => this.next());
  }

  async finish(): Promise<Extent[]> {
    this.told = true;
    if (this.seenBytes !== this.plainBytes)
      throw new RawstorError('INTERNAL', `${this.seenBytes} bytes came, not ${this.plainBytes}`);
    if (!this.frame.isEmpty) await this.next();
    while (this.queue.length > 0) await this.emit();
    if (this.plainBytes === 0) return [];
    if (this.first === null) {
      this.place = await this.take(this.end);
      this.first = this.gathering.take();
    } else if (!this.gathering.isEmpty) await this.step();
    const place = this.place!;
    putIndex(this.first, this.plainBytes, this.entries);
    await this.steps.write(place, 0, this.first);
    await this.steps.flush(place);
    place.trim?.(this.end);
    const { object, offset } = place;
    return [{ objectId: object.id, version: object.version, offset, length: this.end }];
  }

  hash(): ContentHash {
    return this.hasher.finish();
  }

  coding(): Coding {
    const streams = this.plainBytes === 0 ? [] : [[1, this.plainBytes, this.end] as const];
    return { frameBytes: FRAME_BYTES, streams, salts: this.plainBytes === 0 ? null : this.salt };
  }

  async abort(): Promise<void> {
    await Promise.allSettled(this.queue);
    await this.steps.leave(this.place, this.told);
  }

  async release(): Promise<void> {
    await this.place?.release();
  }

  private async next(): Promise<void> {
    const coded = this.coded(this.frame.take(), this.numbered++);
    // Its failure is seen when its turn comes.
    coded.catch(() => {});
    this.queue.push(coded);
    if (this.queue.length >= AHEAD) await this.emit();
  }

  private async coded(plain: Buffer, number: number): Promise<Frame> {
    const { compression } = this.coding_;
    const tried = compression !== null && (this.hopeless < HOPELESS || number % HOPELESS === 0);
    const shrunk = tried ? await compress(compression, plain) : null;
    if (tried) this.hopeless = shrunk === null ? this.hopeless + 1 : 0;
    const method = shrunk === null ? PLAIN_METHOD : METHODS[compression!];
    const bytes = shrunk ?? plain;
    return { method, bytes: this.seal === null ? bytes : this.seal.seal(number, method, bytes) };
  }

  private async emit(): Promise<void> {
    const { method, bytes } = await this.queue.shift()!;
    this.end += bytes.length;
    this.entries.push({ end: this.end, method });
    await this.gathering.add(bytes, () => this.step());
  }

  private async step(): Promise<void> {
    const bytes = this.gathering.take();
    const at = this.stepAt;
    this.stepAt += bytes.length;
    if (this.first === null) {
      this.first = bytes;
      this.place = await this.take(streamMaxBytes(this.plainBytes));
    } else await this.steps.write(this.place!, at, bytes);
  }
}
