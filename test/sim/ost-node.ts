import { silentLogger } from '../../src/common/log.js';
import { Collector } from '../../src/ost/collector.js';
import { OstControl } from '../../src/ost/control.js';
import { CopyEngine } from '../../src/ost/copy.js';
import { OstCore } from '../../src/ost/core.js';
import { Records } from '../../src/ost/records.js';
import { removeEach } from '../../src/ost/told-removals.js';
import { DEFAULT_TUNING } from '../../src/ost/tuning.js';
import type { OstConnector, OstInfo } from '../../src/protocol/index.js';
import { SimDisk } from './disk.js';
import type { MdsLink } from './mds-node.js';
import type { Network } from './network.js';
import { connectOst } from './peer.js';
import { SimProcess } from './process.js';
import { SimStorage, SimStore } from './storage.js';
import type { World } from './world.js';

/** As in `src/ost/index.ts`. */
const TICK_MS = 100;
/** Minutes and days in which nothing happens would only cost time here. */
const CHECKSUM_TIMES = { sumDelayMs: 300, scrubPeriodMs: 20_000 };

/** One storage server: a disk that stays, and processes on it that come and go. */
export class OstNode {
  readonly ostId: string;
  readonly name: string;
  readonly disk: SimDisk;
  process: SimProcess | null = null;
  core: OstCore | null = null;
  control: OstControl | null = null;
  /** The present process answers. */
  serving = false;
  /** Blocks that have changed by themselves on its disk. */
  rotten = 0;
  onCalled: (method: string) => void = () => {};
  /** A write or a flush arrives. */
  onData: (what: 'write' | 'flush') => void = () => {};
  private readonly world: World;
  private readonly network: Network;
  private readonly nodes: Map<string, OstNode>;

  constructor(world: World, network: Network, nodes: Map<string, OstNode>, index: number) {
    this.world = world;
    this.network = network;
    this.nodes = nodes;
    this.name = `ost${index}`;
    this.ostId = `00000000-0000-7000-8000-00000000000${index}`;
    this.disk = new SimDisk(world, this.name);
    nodes.set(this.ostId, this);
  }

  info(): OstInfo {
    return {
      ostId: this.ostId,
      addresses: [`tcp://${this.name}:7777`],
      labels: { host: this.name },
      capacityBytes: 2 ** 40,
      freeBytes: 2 ** 39,
      bootId: this.core?.bootId ?? { kernel: 'none', generation: 0 },
    };
  }

  /** Looks for what is nobody's, by the word of the MDS. */
  async collect(link: MdsLink): Promise<void> {
    const collector = new Collector(this.core!, (report) => link.call('mds.reportObjects', report));
    const { removed, left, unknown, strayChunks, strayObjects } = await collector.run(false);
    const found = { removed: removed.length, left: left.length, unknown: unknown.length };
    for (const [what, count] of Object.entries({ ...found, strayChunks, strayObjects })) {
      for (let i = 0; i < count; i++) this.world.count(`collected ${what}`);
    }
  }

  /** Tells the MDS that it lives, and deletes what was removed or has moved away by its word. */
  async register(link: MdsLink): Promise<void> {
    const { removal } = this.core!;
    const { ostId } = this;
    const { leftObjects, deletedObjects } = await link.call('mds.registerOst', this.info());
    const refused = () => this.world.count('removals refused');
    const deleted = await removeEach(deletedObjects, (id) => removal.remove(id), refused);
    if (deleted.length > 0) {
      await link.call('mds.confirmDeleted', { ostId, objects: deleted });
      this.world.count('copiesDeleted');
    }
    if (leftObjects.length === 0) return;
    const epochs = new Map(leftObjects.map(({ id, epoch }) => [id, epoch]));
    const left = await removeEach([...epochs.keys()], (id) => removal.leave(id, epochs.get(id)!), refused);
    await link.call('mds.confirmLeft', { ostId, objects: left });
    this.world.count('copiesLeft');
  }

  start(): void {
    const process = new SimProcess(this.world, this.name);
    this.process = process;
    const records = new Records(new SimStore(this.disk, process));
    const env = {
      io: process.io,
      clock: process.clock,
      log: silentLogger,
      kernelBootId: this.disk.kernelBootId,
      dirtyCounters: () => '',
      onFatal: () => this.kill(),
    };
    const tuning = { ...DEFAULT_TUNING, reserveBytes: 0, ...CHECKSUM_TIMES };
    const core = new OstCore(this.ostId, env, new SimStorage(this.disk, process), records, tuning);
    const connector: OstConnector = {
      connect: (ostId) => connectOst(this.world, this.network, process, this.nodes, ostId),
    };
    this.core = core;
    this.control = new OstControl(core, new CopyEngine(core, connector, tuning), {
      info: () => this.info(),
      loopStallMaxMs: () => 0,
      collector: null,
    });
    process.clock.every(TICK_MS, () => {
      core.regions.tick++;
    });
    records
      .claim(null, this.ostId, this.name)
      .then(() => core.open())
      .then(() => core.integrity!.start())
      .then(
        () => {
          if (this.process === process) this.serving = true;
        },
        (error) => {
          // A disk that is full, for instance: someone starts it again.
          this.world.trace(`${this.name} cannot start: ${error}`);
          process.kill();
        },
      );
  }

  /** A block that is what was written is never taken for another. */
  checkDamage(): void {
    const found = this.core?.damage.foundTotal ?? 0;
    if (found > 0 && this.rotten === 0) this.world.fail(`${this.name} found a damaged block where none is`);
  }

  /** kill -9: the page cache stays. */
  kill(): void {
    this.checkDamage();
    this.serving = false;
    this.process?.kill();
  }

  powerLoss(): void {
    // Half of the time the others are not told: no kernel is left to close the connections.
    if (this.process !== null) this.process.silentDeath = this.world.chance(0.5);
    this.kill();
    // One time in three the kernel lives: its file system has died and is mounted again.
    if (this.disk.losses % 3 === 2) this.disk.remount();
    else this.disk.powerLoss();
  }
}
