import { type ContentHash, ContentHasher } from './content-hash.js';
import type { Extent } from './extent.js';
import { Gathering } from './gathering.js';
import type { ContentSink, Place } from './place.js';
import { Steps } from './steps.js';
import { STEP_BYTES, type Transfers } from './transfers.js';

/** Streams one content as it is to its place, a step at a time; memory is bounded by the steps under way. */
export class ContentWriter implements ContentSink {
  readonly place: Place;
  private readonly hasher = new ContentHasher();
  private readonly steps: Steps;
  private readonly gathering = new Gathering(STEP_BYTES);
  private writtenBytes = 0;
  private told = false;

  constructor(transfers: Transfers, place: Place) {
    this.steps = new Steps(transfers);
    this.place = place;
  }

  async write(bytes: Buffer): Promise<void> {
    this.hasher.update(bytes);
    await this.gathering.add(bytes, () => this.step());
  }

  async finish(): Promise<Extent[]> {
    this.told = true;
    if (!this.gathering.isEmpty) await this.step();
    const { object, offset } = this.place;
    if (this.writtenBytes === 0) return [];
    await this.steps.flush(this.place);
    return [{ objectId: object.id, version: object.version, offset, length: this.writtenBytes }];
  }

  hash(): ContentHash {
    return this.hasher.finish();
  }

  coding(): null {
    return null;
  }

  async abort(): Promise<void> {
    await this.steps.leave(this.place, this.told);
  }

  async release(): Promise<void> {
    await this.place.release();
  }

  private async step(): Promise<void> {
    const bytes = this.gathering.take();
    const at = this.writtenBytes;
    this.writtenBytes += bytes.length;
    await this.steps.write(this.place, at, bytes);
  }
}
