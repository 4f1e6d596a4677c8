import { randomUUID } from 'node:crypto';
import { LIMITS } from '../../common/limits.js';
import { GiB, MiB } from '../../common/units.js';
import type { CreateSpec } from '../../protocol/object-info.js';
import type { Cluster } from '../cluster.js';
import type { Volume } from '../volume.js';
import type { OpenObjects } from './open-objects.js';
import { wholeBlocks } from './whole-blocks.js';

/** How the data of immutable objects is laid out. */
export interface ImmutableLayout {
  readonly replicas: number;
  readonly minReplicas: number;
  readonly stripeWidth: number | 'all';
  readonly failureDomain: string;
  readonly near: string | null;
}

export type ObjectKind = 'pack' | 'object' | 'journal' | 'checkpoint';
/** Objects of the MDS that hold immutable data are named so, and have the mode too. */
export const NAME_PREFIX = 's3.';
/** Where nobody knows how much comes: cut to what came at the end. */
export const UNKNOWN_SIZE_BYTES = 5 * 1024 * GiB + GiB;

/** An object of the MDS that this process writes, once, from the start to the end or at places of a grid. */
export class WrittenObject {
  readonly volume: Volume;
  private readonly open: OpenObjects;
  private failed = false;

  private constructor(volume: Volume, open: OpenObjects) {
    this.volume = volume;
    this.open = open;
    open.enter(volume);
    volume.onFatal = () => this.fail();
  }

  /** @throws RawstorError UNSATISFIABLE, UNAVAILABLE */
  static async create(
    cluster: Cluster,
    open: OpenObjects,
    layout: ImmutableLayout,
    kind: ObjectKind,
    sizeBytes: number,
  ): Promise<WrittenObject> {
    const spec: CreateSpec = {
      name: `${NAME_PREFIX}${kind}.${randomUUID()}`,
      sizeBytes: Math.max(MiB, wholeBlocks(sizeBytes)),
      chunkSizeBytes: LIMITS.chunkSizeDefaultBytes,
      ...layout,
      onDegraded: 'error',
      mode: 'immutable',
    };
    const { volume } = await cluster.createVolume(spec);
    return new WrittenObject(await cluster.openVolume(volume.id, { mode: 'write', immutable: true }), open);
  }

  get id(): string {
    return this.volume.object.id;
  }

  /** The version that what has been flushed by now is in, or an older one. */
  get version(): number {
    return this.volume.object.headVersion;
  }

  get usable(): boolean {
    return !this.failed;
  }

  /** Nothing more is written to it, and what was not flushed yet is not taken for written. */
  fail(): void {
    this.failed = true;
    this.open.leave(this.volume);
  }

  /** Freezes it, by a name that none of its readers gives it. @param sizeBytes cuts it to that first */
  async seal(sizeBytes?: number): Promise<void> {
    if (sizeBytes !== undefined) {
      const whole = Math.max(LIMITS.blockBytes, wholeBlocks(sizeBytes));
      if (whole < this.volume.sizeBytes) await this.volume.change({ kind: 'resize', sizeBytes: whole });
    }
    await this.volume.change({ kind: 'snapshot', name: `ended-${this.version}` });
  }

  /** Gives the lease back. */
  async close(): Promise<void> {
    this.open.leave(this.volume);
    await this.volume.close();
  }
}
