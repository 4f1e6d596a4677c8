import { asRawstorError } from '../../common/errors.js';
import type { Logger } from '../../common/log.js';
import { MiB } from '../../common/units.js';
import type { Cluster } from '../cluster.js';
import type { OpenObjects } from './open-objects.js';
import type { Place } from './place.js';
import { roundUp } from './transfers.js';
import { type ImmutableLayout, WrittenObject } from './written-object.js';

/** A pack is full with so much: small enough to be rewritten when most of it is dead. */
export const PACK_BYTES = 256 * MiB;
/** Content up to so much is packed. */
export const PACKED_BYTES = 8 * MiB;
/**
 * A pack is full with so many versions too: each read by another process of what is not frozen yet makes one, and an object
 * may have only so many.
 */
const PACK_VERSIONS = 64;

interface Pack {
  readonly object: WrittenObject;
  usedBytes: number;
  users: number;
}

/** Packs many small contents into one object after another: each begins at a sector, none is written twice. */
export class PackWriter {
  private readonly cluster: Cluster;
  private readonly open: OpenObjects;
  private readonly layout: ImmutableLayout;
  private readonly log: Logger;
  private current: Pack | null = null;
  private making: Promise<Pack> | null = null;
  private readonly ending = new Set<Promise<void>>();

  constructor(cluster: Cluster, open: OpenObjects, layout: ImmutableLayout, log: Logger) {
    this.cluster = cluster;
    this.open = open;
    this.layout = layout;
    this.log = log;
  }

  /** @throws RawstorError UNSATISFIABLE, UNAVAILABLE */
  async take(length: number): Promise<Place> {
    const bytes = roundUp(length);
    for (;;) {
      const pack = this.current;
      if (pack === null) {
        this.making ??= this.make().finally(() => {
          this.making = null;
        });
        await this.making;
        continue;
      }
      const { usable, version } = pack.object;
      if (!usable || version > PACK_VERSIONS || pack.usedBytes + bytes > PACK_BYTES) {
        this.current = null;
        if (pack.users === 0) this.end(pack);
        continue;
      }
      const offset = pack.usedBytes;
      pack.usedBytes += bytes;
      pack.users++;
      let released = false;
      const release = () => {
        if (released) return;
        released = true;
        if (--pack.users === 0 && this.current !== pack) this.end(pack);
      };
      // What nobody has taken behind it is given back, so that the pack is as full as it says.
      const trim = (usedBytes: number) => {
        if (pack.usedBytes === offset + bytes) pack.usedBytes = offset + roundUp(usedBytes);
      };
      return { object: pack.object, offset, alone: false, trim, release };
    }
  }

  async close(): Promise<void> {
    await this.making?.catch(() => {});
    const pack = this.current;
    this.current = null;
    if (pack !== null && pack.users === 0) this.end(pack);
    await Promise.allSettled(this.ending);
  }

  private async make(): Promise<Pack> {
    const object = await WrittenObject.create(this.cluster, this.open, this.layout, 'pack', PACK_BYTES);
    this.current = { object, usedBytes: 0, users: 0 };
    return this.current;
  }

  /** Sealed and closed; where that fails, its next reader does it. */
  private end({ object }: Pack): void {
    const ended = (async () => {
      try {
        if (object.usable) await object.seal();
      } catch (error) {
        this.log.warn({ reason: asRawstorError(error).message }, 'a pack was not sealed yet');
      } finally {
        await object.close().catch(() => {});
      }
    })();
    this.ending.add(ended);
    void ended.finally(() => this.ending.delete(ended));
  }
}
