import { openVolume } from '../../src/client/open.js';
import { recoverVolume } from '../../src/client/recovery/recover.js';
import { asRawstorError } from '../../src/common/errors.js';
import { type Random, seededRandom } from '../../src/common/random.js';
import type { StoredObject } from '../../src/mds/stored-object.js';
import { clientEnvironment } from './client-environment.js';
import type { Cluster } from './cluster.js';
import { bothWays, cutFor } from './faults.js';
import type { Guest } from './guest.js';
import { MdsLink } from './mds-node.js';
import { SimProcess } from './process.js';

const EVERY_MS = 8000;
const LOOK_MS = 100;
/** A lease whose connection is lost has lapsed by then. */
const LAPSED_MS = 2200;
export const KEEPER = 'keeper';

/**
 * Somebody who looks after volumes that nobody seems to have open, while the writer is cut off from the MDS, or from more: one that has
 * all it needs to go on keeps its volume. With a random of its own.
 */
export class Keeper {
  private readonly cluster: Cluster;
  private readonly random: Random;
  /** Since when each OST in sync has the session of the guest's gateway, which lives. */
  private wholeSinceMs = Number.POSITIVE_INFINITY;
  private beganMs = 0;
  private running = false;

  constructor(cluster: Cluster) {
    this.cluster = cluster;
    this.random = seededRandom(cluster.world.seed ^ 0x4b45);
  }

  begin(): void {
    this.look();
    this.again();
  }

  /** The record of the guests' volume has changed. */
  committed(before: StoredObject, after: StoredObject): void {
    const { session } = after;
    if (session.epoch === before.session.epoch || session.holder !== KEEPER) return;
    this.cluster.world.count('keptVolumes');
    if (!this.isWhole(before) || this.wholeSinceMs > this.beganMs) return;
    this.cluster.world.fail(
      'a writer that only the MDS does not hear of has lost its volume to who looks after it',
    );
  }

  private again(): void {
    const { cluster, random } = this;
    cluster.later(1 + random.below(EVERY_MS), '', () => {
      const { guest } = cluster;
      if (!this.running && guest?.alive && guest.volume !== null && random.next() < 0.5) this.cutOff(guest);
      this.again();
    });
  }

  private cutOff(guest: Guest): void {
    const { cluster, random } = this;
    const { network, world } = cluster;
    const { name } = guest;
    world.count('cutOffFromMds');
    cutFor(cluster, bothWays(name, 'mds'), LAPSED_MS + 1000 + random.below(6000));
    network.resetBetween(name, 'mds');
    const other = name === 'host0' ? 'host1' : 'host0';
    cluster.later(LAPSED_MS + random.below(1500), 'looks after the volume', () => void this.recover(other));
  }

  private async recover(host: string): Promise<void> {
    const { cluster } = this;
    const { world, network, mds } = cluster;
    if (this.running) return;
    this.running = true;
    this.beganMs = world.nowMs;
    const process = new SimProcess(world, host);
    const link = new MdsLink(world, network, process, mds);
    link.onAsked = (method, params) => cluster.audit.asked(method, params);
    link.onLossAnswered = () => cluster.lossKnown();
    const env = clientEnvironment(cluster, process);
    const opener = {
      openVolume: (ref: string, how: Parameters<typeof openVolume>[3]) =>
        openVolume(env, link as never, ref, how, KEEPER),
    };
    try {
      const { clock } = process;
      const outcome = await recoverVolume(opener, 'v', { clock, openTimeoutMs: 5000, patienceMs: 3000 });
      world.count(`keeper ${outcome}`);
    } catch (error) {
      const { code, stack } = asRawstorError(error);
      world.count(`keeper ${code}`);
      if (code === 'INTERNAL' || code === 'INVALID') world.fail(`the keeper: ${stack}`);
    }
    process.kill();
    this.running = false;
  }

  private look(): void {
    const { cluster } = this;
    const { world } = cluster;
    cluster.later(LOOK_MS, '', () => {
      const whole = cluster.object !== null && this.isWhole(cluster.mds.peek(cluster.object.id));
      this.wholeSinceMs = whole ? Math.min(this.wholeSinceMs, world.nowMs) : Number.POSITIVE_INFINITY;
      this.look();
    });
  }

  private isWhole({ object, session }: StoredObject): boolean {
    const { guest, nodes } = this.cluster;
    const volume = guest?.process.alive ? guest.volume : null;
    if (volume === null || volume.object.sessionEpoch !== session.epoch) return false;
    const inSync = object.members.filter(({ state }) => state === 'in-sync');
    return inSync.every(({ ostId }) => {
      const { process, core } = nodes.get(ostId)!;
      return process?.alive === true && core?.objects.get(object.id)?.writer?.epoch === session.epoch;
    });
  }
}
