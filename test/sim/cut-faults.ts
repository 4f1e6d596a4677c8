import { type Random, seededRandom } from '../../src/common/random.js';
import type { StoredObject } from '../../src/mds/stored-object.js';
import { pendingOf } from '../../src/protocol/index.js';
import { restartSoon } from './aimed-faults.js';
import type { Cluster } from './cluster.js';
import { cutFor, powerCycle } from './faults.js';
import type { OstNode } from './ost-node.js';

/** About what lies between the record that is ahead and the cut. */
const AHEAD_MS = 8;
const AROUND_MS = 30;
const BURSTS = 12;

/**
 * Directed at the cut of a snapshot, which lies some milliseconds behind the record of a new head ahead of it: the guest has much under
 * way, mostly where nothing was written for a while, and one replica is slow, unreachable for a moment, or gone and soon back. With a random of its own.
 */
export class CutFaults {
  private readonly cluster: Cluster;
  private readonly random: Random;

  constructor(cluster: Cluster) {
    this.cluster = cluster;
    this.random = seededRandom(cluster.world.seed ^ 0x435554);
  }

  /** The record of the guests' volume has changed. */
  committed(before: StoredObject, after: StoredObject): void {
    const { cluster, random } = this;
    if (pendingOf(before.object) !== null || pendingOf(after.object) === null) return;
    if (cluster.calm || cluster.undisturbed) return;
    // Over nothing, a version is written without looking at what lies over it.
    const isFirst = pendingOf(after.object)!.over === null;
    if (!isFirst && random.next() < 0.2) return;
    const node = cluster.osts[random.below(cluster.osts.length)]!;
    if (!isFirst && random.next() < 0.5) cluster.moveOn();
    for (let i = 0; i < BURSTS; i++)
      cluster.later(random.next() * AROUND_MS, '', () => cluster.guest?.burst());
    if (random.next() < (isFirst ? 0.9 : 0.2)) {
      node.disk.slowUntilMs = cluster.world.nowMs + 5 + random.next() * 60;
      return cluster.world.count('slowCuts');
    }
    if (random.next() < 0.4) return cluster.next.at('mark', node, () => this.loseWrites(node));
    cluster.later(random.next() * AHEAD_MS, 'a fault beside a cut', () => this.act(node));
  }

  /** What is sent to the replica from the cut's last preparation on does not arrive, and is sent again after the cut. */
  private loseWrites(node: OstNode): void {
    const { cluster, random } = this;
    const { guest, network, world } = cluster;
    if (guest === null) return;
    world.count('writesLostAtCut');
    cutFor(cluster, [[guest.name, node.name]], 30);
    for (const afterMs of [0, 0.1, 0.2]) cluster.later(afterMs, '', () => guest.burst());
    cluster.later(0.5 + random.next() * 15, 'what was sent is lost', () => {
      network.healOne(guest.name, node.name);
      network.resetBetween(guest.name, node.name);
    });
  }

  private act(node: OstNode): void {
    const { cluster, random } = this;
    const { world, network, guest } = cluster;
    if (guest?.volume == null) return;
    const kind = random.next();
    world.count('cutFaults');
    if (kind < 0.5) {
      // Done, and not heard of: it is sent again over the next connection.
      cutFor(cluster, [[node.name, guest.name]], 1 + random.next() * 20);
      cluster.later(0.5 + random.next() * 5, '', () => network.resetBetween(guest.name, node.name));
    } else if (kind < 0.8) restartSoon(cluster, node);
    else powerCycle(cluster, node);
  }
}
