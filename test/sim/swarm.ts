import { AIMED_FAULTS } from './aimed-faults.js';
import type { Cluster } from './cluster.js';
import { DIRECTED } from './directed.js';
import { FAULTS, type FaultTable } from './faults.js';
import { FENCING_FAULTS } from './fencing-faults.js';
import { JOIN_FAULTS } from './join-faults.js';
import { LOSS_FAULTS } from './loss-faults.js';
import type { World } from './world.js';

const ALL: FaultTable = {
  ...FAULTS,
  ...DIRECTED,
  ...FENCING_FAULTS,
  ...JOIN_FAULTS,
  ...LOSS_FAULTS,
  ...AIMED_FAULTS,
};
const NAMES = Object.keys(ALL);

/**
 * The faults of one history: some kinds are left out and some are frequent, because what only two of them bring
 * about together is rare where all happen alike.
 */
export class Swarm {
  private readonly weights: readonly number[];
  private readonly total: number;

  constructor(world: World) {
    const even = world.chance(0.3);
    this.weights = NAMES.map((name) => {
      const { weight } = ALL[name]!;
      if (even) return weight;
      const kind = world.random.next();
      return kind < 0.35 ? 0 : kind < 0.9 ? weight : weight * 12;
    });
    this.total = this.weights.reduce((sum, weight) => sum + weight, 0);
  }

  act(cluster: Cluster): void {
    const { world } = cluster;
    let at = world.random.next() * this.total;
    for (const [index, name] of NAMES.entries()) {
      at -= this.weights[index]!;
      if (at >= 0) continue;
      world.trace(`FAULT ${name}`);
      world.count(name);
      cluster.faults++;
      return ALL[name]!.act(cluster);
    }
  }
}
