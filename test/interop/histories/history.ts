import fc from 'fast-check';
import { MiB } from '../../../src/common/units.js';
import type { DiskCluster } from './disk-cluster.js';
import { ModelledVolume, SECTOR } from './modelled-volume.js';

const SIZE = 3 * MiB;
const VOLUMES_MAX = 4;

/** One step; what does not apply where it comes is left out. `pick` chooses a volume, `which` something of it. */
export interface Step {
  readonly kind: string;
  readonly pick: number;
  readonly which: number;
  readonly offset: number;
  readonly length: number;
}

const WEIGHTS: Record<string, number> = {
  write: 40,
  zero: 6,
  unmap: 6,
  discard: 8,
  flush: 4,
  check: 4,
  snapshot: 8,
  removeSnapshot: 6,
  rollback: 4,
  clone: 3,
  flatten: 2,
  resize: 4,
  removeVolume: 2,
  killOst: 1,
  restartMds: 1,
  kill: 1,
  powerLossOfOne: 1,
  powerLossOfAll: 1,
};

export const steps = (count: number): fc.Arbitrary<Step[]> =>
  fc.array(
    fc.record({
      kind: fc.oneof(
        ...Object.entries(WEIGHTS).map(([kind, weight]) => ({ weight, arbitrary: fc.constant(kind) })),
      ),
      pick: fc.nat(1000),
      which: fc.nat(1000),
      offset: fc.nat((8 * MiB) / SECTOR),
      // Mostly a few sectors, sometimes more than a chunk.
      length: fc.oneof(
        { weight: 5, arbitrary: fc.integer({ min: 1, max: 40 }) },
        { weight: 2, arbitrary: fc.constantFrom(8, 16, 128) },
        { weight: 1, arbitrary: fc.integer({ min: 500, max: 3000 }) },
      ),
    }),
    { minLength: Math.ceil(count / 2), maxLength: count, size: 'max' },
  );

/** Volumes come and go as the steps say, and read as a model in memory all along. */
export class History {
  readonly log: string[] = [];
  private readonly rig: DiskCluster;
  private readonly prefix: string;
  private volumes: ModelledVolume[] = [];
  private made = 0;

  constructor(rig: DiskCluster, prefix: string) {
    this.rig = rig;
    this.prefix = prefix;
  }

  async run(all: readonly Step[]): Promise<void> {
    await this.create();
    for (const step of all) await this.step(step);
    for (const volume of this.volumes) {
      await volume.check();
      await volume.checkTold();
      await volume.checkSnapshots();
    }
  }

  /** All of it goes, however it has ended. */
  async remove(): Promise<void> {
    for (const volume of this.volumes) volume.kill();
    const { cluster } = this.rig;
    for (const { name } of [...this.volumes].reverse()) {
      const { snapshots, id } = await cluster.mds.call('mds.getObj', { ref: name });
      const named = snapshots.filter((one) => one.name !== null);
      for (const { version } of named) {
        await cluster.changeVolume(name, { kind: 'remove', version }, { timeoutMs: 30_000 });
      }
      await cluster.mds.call('mds.remove', { ref: id, force: true });
    }
    this.volumes = [];
  }

  private async create(): Promise<void> {
    const name = `${this.prefix}-${++this.made}`;
    this.log.push(`create ${name}`);
    await this.rig.cluster.createVolume({
      name,
      sizeBytes: SIZE,
      chunkSizeBytes: MiB,
      replicas: 2,
      minReplicas: 1,
      stripeWidth: 1,
      failureDomain: 'host',
      near: null,
      onDegraded: 'pause',
    });
    await this.add(new ModelledVolume(this.rig, name, Buffer.alloc(SIZE)));
  }

  private async add(volume: ModelledVolume): Promise<void> {
    this.volumes.push(volume);
    await volume.open();
  }

  private async step({ kind, pick, which, offset, length }: Step): Promise<void> {
    const volume = this.volumes[pick % this.volumes.length]!;
    const names = [...volume.snapshots.keys()];
    const name = names[which % names.length];
    const hasClones = (snapshot?: string) =>
      this.volumes.some(
        ({ parent }) => parent?.of === volume && (snapshot === undefined || parent.snapshot === snapshot),
      );
    this.log.push(`${kind} ${volume.name} ${name} ${which} ${offset} ${length}`);
    switch (kind) {
      case 'write':
        return volume.write(offset, length, 1 + (which % 255));
      case 'zero':
        return volume.zero(offset, length, 'keep');
      case 'unmap':
        return volume.zero(offset, length, 'unmap');
      case 'discard':
        return volume.zero(offset, length, 'discard');
      case 'flush':
        await volume.flush();
        return;
      case 'check':
        await volume.check();
        return volume.checkTold();
      case 'snapshot':
        return volume.snapshot();
      case 'removeSnapshot':
        if (name !== undefined && !hasClones(name)) await volume.remove(name);
        return;
      case 'rollback':
        if (name !== undefined) await volume.rollback(name, which % 2 === 0);
        return;
      case 'clone':
        if (name !== undefined && this.volumes.length < VOLUMES_MAX) await this.clone(volume, name);
        return;
      case 'flatten':
        if (volume.parent !== null && names.length === 0) await volume.flatten();
        return;
      case 'resize':
        return volume.resize((1 + (which % 10)) * (MiB / 2));
      case 'removeVolume':
        if (this.volumes.length > 1 && names.length === 0 && !hasClones()) await this.removeVolume(volume);
        return;
      default:
        return this.fault(kind, which % 2);
    }
  }

  private async clone(parent: ModelledVolume, snapshot: string): Promise<void> {
    const name = `${this.prefix}-${++this.made}`;
    const { version, content } = parent.snapshots.get(snapshot)!;
    await this.rig.cluster.cloneVolume({ ref: parent.name, version, name });
    const clone = new ModelledVolume(this.rig, name, Buffer.from(content));
    clone.parent = { of: parent, snapshot };
    await this.add(clone);
  }

  private async removeVolume(volume: ModelledVolume): Promise<void> {
    await volume.close();
    await this.rig.cluster.mds.call('mds.remove', { ref: volume.name, force: false });
    this.volumes.splice(this.volumes.indexOf(volume), 1);
  }

  private async fault(kind: string, index: number): Promise<void> {
    const { rig, volumes } = this;
    switch (kind) {
      case 'restartMds':
        return rig.restartMds();
      case 'killOst':
        return rig.killOst(index);
      case 'kill':
        for (const volume of volumes) volume.kill();
        for (const volume of volumes) await volume.open();
        return;
      case 'powerLossOfOne':
        for (const volume of volumes) await volume.inOrder();
        await rig.losePower(index);
        for (const volume of volumes) await volume.inOrder();
        return;
      case 'powerLossOfAll':
        for (const volume of volumes) await volume.inOrder();
        for (const volume of volumes) volume.kill();
        await rig.losePower(0, 1);
        for (const volume of volumes) await volume.open();
        for (const volume of volumes) await volume.settle();
        return;
      default:
        throw new Error(`no step ${kind}`);
    }
  }
}
