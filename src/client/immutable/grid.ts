import { LIMITS } from '../../common/limits.js';
import type { Place } from './place.js';
import { UNKNOWN_SIZE_BYTES, type WrittenObject } from './written-object.js';

/**
 * One object that the parts of a content go to, each to where it belongs when all are as long as the first that came, but for the last.
 * Then the whole lies in one piece at its end, without a copy. A part that does not fit goes elsewhere.
 */
export class Grid {
  readonly object: WrittenObject;
  private partBytes = 0;
  /** Where each part that has a place ends, as far as is known. */
  private readonly ends = new Map<number, number>();
  private users = 0;
  private readonly waiting: (() => void)[] = [];
  private ended = false;
  private sealing: Promise<void> | null = null;
  /** A part has ended since it was sealed last. */
  private changed = false;

  constructor(object: WrittenObject) {
    this.object = object;
  }

  /** Whether parts are being written to it. */
  get isUsed(): boolean {
    return this.users > 0;
  }

  /**
   * @param part from 1 on
   * @param slotBytes what it takes at most, as it is stored
   * @returns null where it has no place here
   */
  place(part: number, lengthBytes: number, slotBytes = lengthBytes): Place | null {
    if (this.ended || !this.object.usable || this.ends.has(part)) return null;
    if (this.partBytes === 0) {
      if (lengthBytes % LIMITS.blockBytes !== 0 && part > 1) return null;
      this.partBytes = slotBytes;
    }
    const offset = (part - 1) * this.partBytes;
    const fits = slotBytes <= this.partBytes && offset % LIMITS.blockBytes === 0;
    if (!fits || offset + this.partBytes > UNKNOWN_SIZE_BYTES) return null;
    this.ends.set(part, offset + slotBytes);
    this.users++;
    let released = false;
    const release = () => {
      if (released) return;
      released = true;
      this.changed = true;
      if (--this.users > 0) return;
      for (const resolve of this.waiting.splice(0)) resolve();
    };
    const trim = (usedBytes: number) => {
      this.ends.set(part, offset + usedBytes);
    };
    // A part that is sent again, as its first connection broke, belongs to where that one did.
    const free = () => {
      if (!released) this.ends.delete(part);
      release();
    };
    return { object: this.object, offset, alone: false, trim, free, release };
  }

  /**
   * Takes no more parts. Those that are written still are not waited for, and go to a later version. @param sizeBytes of the whole, where it is
   * one: cut to that, but no part is cut, as another choice of them may be completed in the end
   */
  async seal(sizeBytes?: number): Promise<void> {
    this.ended = true;
    if (!this.object.usable) return;
    if (this.sealing === null || this.changed) {
      this.changed = false;
      const before = this.sealing?.catch(() => {});
      const sealing = this.sealNow(before, sizeBytes);
      this.sealing = sealing;
      sealing.catch(() => {
        if (this.sealing === sealing) this.sealing = null;
      });
    }
    await this.sealing;
  }

  private async sealNow(before: Promise<void> | undefined, sizeBytes: number | undefined): Promise<void> {
    await before;
    await this.object.seal(sizeBytes === undefined ? undefined : Math.max(sizeBytes, ...this.ends.values()));
  }

  /** Waits for the parts that are being written. */
  async close(): Promise<void> {
    this.ended = true;
    if (this.users > 0) await new Promise<void>((resolve) => this.waiting.push(resolve));
    await this.object.close().catch(() => {});
  }
}
