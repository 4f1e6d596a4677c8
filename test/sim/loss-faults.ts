import type { Cluster } from './cluster.js';
import { cutFor, type FaultTable, pick, powerCycle, restartLater } from './faults.js';
import type { OstNode } from './ost-node.js';

/** Those without which some chunk has nobody but `node`. */
function beside(cluster: Cluster, node: OstNode): OstNode[] {
  const others = cluster.osts.filter((one) => one !== node);
  return cluster.plan.stripeWidth === 'all' ? [pick(cluster, others)] : others;
}

/** Directed at what is read, and who is chosen, when somebody has lost what was not flushed. */
export const LOSS_FAULTS: FaultTable = {
  /** Reads of the last replica are held back until the set is stored there, and it loses what they have read (I8). */
  heldReads: {
    weight: 2,
    act(cluster) {
      const { world, guest, next } = cluster;
      if (guest === null || guest.volume === null) return;
      const node = pick(cluster, cluster.osts);
      const others = cluster.osts.filter((one) => one !== node);
      const ways = others.map((one): [string, string] => [one.name, guest.name]);
      next.at('write', node, () => {
        cutFor(cluster, [...ways, ['mds', guest.name]], world.between(2200, 4500));
        // After they are given up for silence, before that is on record.
        cluster.later(world.between(900, 2600), 'power of who has answered', () => {
          node.powerLoss();
          cluster.later(world.between(1, 200), `${node.name} starts`, () => {
            if (!node.process?.alive) node.start();
          });
        });
      });
    },
  },
  /** Who dropped the others is storing that, and holds back what it has read, when it loses what the reads gave (I8). */
  readsHeldByDrop: {
    weight: 3,
    act(cluster) {
      const { world, guest, next } = cluster;
      if (guest === null || guest.volume === null) return;
      const last = pick(cluster, cluster.osts);
      const others = beside(cluster, last);
      if (world.chance(0.5)) cluster.moveOn();
      next.at('write', last, () => {
        cluster.later(world.between(0.3, 4), 'reads alone', () => {
          cluster.onlyReads(world.between(100, 600));
          cluster.later(world.between(0.5, 8), 'the others end', () => {
            for (const node of others) {
              node.kill();
              restartLater(cluster, node);
            }
            // Not its reads all, for the time that each takes is drawn from here to the end.
            last.disk.slowUntilMs = world.nowMs + world.between(3, 60);
            cluster.later(world.between(2, 40), 'power of the last', () => {
              last.powerLoss();
              last.disk.slowUntilMs = 0;
              cluster.later(world.between(1, 60), `${last.name} starts`, () => {
                if (!last.process?.alive) last.start();
              });
            });
          });
        });
      });
    },
  },
  /** A writer ends while those that have all its writes are away, and who is there has lost some (I7). */
  suspectAlone: {
    weight: 2,
    act(cluster) {
      const { world, guest, next } = cluster;
      if (guest === null || guest.volume === null) return;
      const suspect = pick(cluster, cluster.osts);
      const others = beside(cluster, suspect);
      next.at('write', suspect, () => {
        cluster.later(world.between(0.5, 8), 'all but a suspect', () => {
          for (const node of others) {
            node.kill();
            const { process } = node;
            cluster.later(world.between(500, 5000), `${node.name} starts`, () => {
              if (node.process === process) node.start();
            });
          }
          suspect.powerLoss();
          suspect.start();
          if (world.chance(0.5)) cluster.restartGateway();
          else cluster.takeover(true);
        });
      });
    },
  },
  /** Power goes just after a write was answered that nothing has flushed, and the guest is silent before (I8). */
  powerInSilence: {
    weight: 1,
    act(cluster) {
      const { world } = cluster;
      cluster.quiet(world.between(5, 400));
      const nodes = world.chance(0.5) ? cluster.osts : [pick(cluster, cluster.osts)];
      cluster.later(world.between(1, 60), 'power in silence', () => {
        for (const node of nodes) powerCycle(cluster, node);
      });
    },
  },
};
