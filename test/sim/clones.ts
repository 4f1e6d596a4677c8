import { cloneVolume } from '../../src/client/create.js';
import type { Volume } from '../../src/client/index.js';
import { asRawstorError } from '../../src/common/errors.js';
import { type Random, seededRandom } from '../../src/common/random.js';
import type { StoredObject } from '../../src/mds/stored-object.js';
import { clientEnvironment } from './client-environment.js';
import { CloneGuest } from './clone-guest.js';
import type { Cluster } from './cluster.js';
import { MdsLink } from './mds-node.js';
import type { Cut } from './oracle.js';
import { SimProcess } from './process.js';
import type { Versioned } from './version-reader.js';

const EVERY_MS = 6000;
const MOST = 3;
/** Values that one clone writes, none of which another does, nor the volume. */
const VALUES = 10_000_000;
const RETRY_MS = 500;
const FAILURES = ['BUSY', 'NOT_FOUND', 'UNAVAILABLE', 'TIMEOUT', 'CONNECTION_LOST', 'CONFLICT'];

/**
 * Clones of the volume's snapshots, made, used, flattened and removed all along: none shows what another writes, nor does the
 * volume, and one that was cut short in the making is whole or goes.
 */
export class Clones {
  private readonly cluster: Cluster;
  private readonly random: Random;
  /** By id: of those that somebody uses. */
  private readonly used = new Map<string, CloneGuest>();
  /** Cuts by name, of clones whose making may have been cut short. */
  private readonly asked = new Map<string, Cut>();
  private readonly removing = new Set<string>();
  private tool: SimProcess | null = null;
  private count = 0;
  private stopped = false;

  constructor(cluster: Cluster) {
    this.cluster = cluster;
    this.random = seededRandom(cluster.world.seed ^ 0x434c4e);
  }

  /** Makes one or removes one now and then, until the load is over. */
  begin(): void {
    const { cluster } = this;
    cluster.later(1 + this.random.below(EVERY_MS), '', () => {
      if (this.tool?.alive !== true && cluster.mds.leftOut === null) this.act();
      this.begin();
    });
  }

  committed(before: StoredObject, after: StoredObject): void {
    this.used.get(after.object.id)?.committed(before, after);
  }

  /** No new ones; those that are there are read and closed, those that were to go are removed. */
  stop(): void {
    this.stopped = true;
    this.tool?.kill();
    for (const guest of this.used.values()) guest.stop();
    this.finish(new SimProcess(this.cluster.world, 'admin'));
  }

  get settled(): boolean {
    const there = this.present();
    const over = there.every(({ object }) => this.used.get(object.id)?.closed === true);
    return this.stopped && over && this.removing.size === 0;
  }

  /** Somebody was told that these were made, and nobody has asked for their removal. */
  promised(): string[] {
    return [...this.used.keys()].filter((id) => !this.removing.has(id));
  }

  /** Somebody has it open again and again. */
  isUsed(id: string): boolean {
    return this.promised().includes(id);
  }

  /** Null: it is not open. */
  volumeOf(id: string): Volume | null {
    return this.used.get(id)?.volume ?? null;
  }

  /** It may be whole or gone: its making was cut short, or its removal was asked for. */
  mayGo(id: string): boolean {
    return !this.promised().includes(id);
  }

  /** A rebuild may miss one, once in a while. */
  leaveOut(): string | null {
    const { calm, snapshots } = this.cluster;
    const all = this.promised();
    const quiet = !calm && snapshots!.settled;
    return !quiet || all.length === 0 || this.random.below(3) > 0
      ? null
      : all[this.random.below(all.length)]!;
  }

  checkPromises(): void {
    for (const id of this.promised()) {
      if (this.cluster.mds.find(id) === null) this.cluster.world.fail(`clone ${id} is not there any more`);
    }
  }

  versioned(): Versioned[] {
    return this.present().map(({ object }) => {
      const { oracle } = this.used.get(object.id)!;
      return { object, oracle, cuts: new Map() };
    });
  }

  private present(): StoredObject[] {
    return this.cluster.mds.all().filter(({ object }) => object.id !== this.cluster.object!.id);
  }

  private act(): void {
    const { random, cluster } = this;
    const { world } = cluster;
    const tool = new SimProcess(world, `host${random.below(2)}`);
    this.tool = tool;
    const link = new MdsLink(world, cluster.network, tool, cluster.mds);
    if (random.below(4) === 0) {
      tool.later(random.below(300), 'who makes clones is killed', () => tool.kill());
    }
    const old = this.promised().map((id) => this.used.get(id)!);
    const full = old.length >= MOST;
    const work =
      full || (old.length > 0 && random.below(3) === 0)
        ? this.remove(link, old[random.below(old.length)]!)
        : this.make(link, tool);
    work.catch((error) => {
      const { code, stack } = asRawstorError(error);
      world.count(`clones ${code}`);
      if (!FAILURES.includes(code)) world.fail(`clones: ${code} ${stack}`);
    });
    work.finally(() => tool.kill()).catch(() => {});
  }

  private async make(link: MdsLink, tool: SimProcess): Promise<void> {
    const { cluster } = this;
    const found = cluster.snapshots!.pickSnapshot();
    if (found === null) return;
    const { snapshot, cut } = found;
    const name = `c${this.count++}`;
    this.asked.set(name, cut);
    cluster.world.count('clonesAsked');
    const { connector } = clientEnvironment(cluster, tool);
    const request = { ref: 'v', version: snapshot.version, name };
    const { volume } = await cloneVolume(link, connector, request, 3000);
    cluster.world.count('clonesMade');
    this.use(volume.id, name, volume.sizeBytes);
  }

  private use(id: string, name: string, sizeBytes: number): void {
    const cut = this.asked.get(name)!;
    const firstValue = VALUES * (1 + this.used.size);
    const guest = new CloneGuest(this.cluster, this.random, { id, name, sizeBytes, cut, firstValue });
    this.used.set(id, guest);
    if (this.stopped) guest.stop();
  }

  private async remove(link: MdsLink, guest: CloneGuest): Promise<void> {
    guest.removing = true;
    this.removing.add(guest.id);
    if (this.random.below(2) === 0) guest.kill();
    this.cluster.world.count('clonesRemoving');
    await link.call('mds.remove', { ref: guest.id, force: true }, 3000);
    this.cluster.world.count('clonesRemoved');
    guest.kill();
  }

  /** What was to go goes, and what nobody knows of is used once: it is whole. */
  private finish(process: SimProcess): void {
    const link = new MdsLink(this.cluster.world, this.cluster.network, process, this.cluster.mds);
    const once = async () => {
      for (const id of [...this.removing]) {
        this.used.get(id)!.kill();
        // A rebuilt MDS may not have heard of the removal.
        if (this.cluster.mds.find(id) !== null) await link.call('mds.remove', { ref: id, force: true });
        this.removing.delete(id);
        this.used.delete(id);
      }
      for (const { object } of this.present()) {
        if (!this.used.has(object.id)) this.use(object.id, object.name, object.sizeBytes);
      }
    };
    once().catch(() => process.later(RETRY_MS, '', () => this.finish(process)));
  }
}
