import { RawstorError } from '../../common/errors.js';
import type { Place } from './place.js';
import type { Transfers } from './transfers.js';

/** Steps of one content under way. */
const AHEAD = 4;

/** Writes the steps of one content, some at a time. */
export class Steps {
  private readonly transfers: Transfers;
  private readonly underWay = new Set<Promise<void>>();
  private failure: unknown = null;

  constructor(transfers: Transfers) {
    this.transfers = transfers;
  }

  /** Waits while enough of them are under way. @param at of the place, of whole sectors. @throws RawstorError of the device */
  async write({ object, offset }: Place, at: number, bytes: Buffer): Promise<void> {
    const step: Promise<void> = this.transfers
      .write(object.volume, offset + at, bytes)
      .catch((error: unknown) => {
        this.failure ??= error;
      })
      .finally(() => this.underWay.delete(step));
    this.underWay.add(step);
    if (this.underWay.size >= AHEAD) await Promise.race(this.underWay);
    this.check();
  }

  /** All of them durable on all replicas in sync. @throws RawstorError of the device */
  async flush({ object }: Place): Promise<void> {
    await this.settle();
    this.check();
    try {
      await this.transfers.flush(object.volume);
    } catch (error) {
      // Told once, but what others had written here and not flushed yet is gone too.
      if (error instanceof RawstorError && error.code === 'LOSS') object.fail();
      throw error;
    }
    if (!object.usable) throw lostBefore(object.volume.object.name);
  }

  /**
   * Nobody wants what was written: its place is free again, unless something of it may be on record, or a write that failed may
   * come about yet. @param told `finish` was called
   */
  async leave(place: Place | null, told: boolean): Promise<void> {
    await this.settle();
    if (place?.free === undefined || told || this.failure !== null) await place?.release();
    else place.free();
  }

  private async settle(): Promise<void> {
    await Promise.all(this.underWay);
  }

  private check(): void {
    if (this.failure !== null) throw this.failure;
  }
}

function lostBefore(name: string): RawstorError {
  return new RawstorError('UNAVAILABLE', 'what was written there before may be lost', {
    where: name,
    hint: 'write it again: it goes to another object',
  });
}
