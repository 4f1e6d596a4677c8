import { restartSoon, writeToOne } from './aimed-faults.js';
import { cutFor, type FaultTable, pick, powerCycle, restartLater } from './faults.js';

/** Directed at the end of a resync, and at what waits while a set changes. */
export const JOIN_FAULTS: FaultTable = {
  /** A connection is lost while a member joins (I9). */
  joinInterrupted: {
    weight: 2,
    act(cluster) {
      const { world, network, guest } = cluster;
      if (guest === null) return;
      const back = pick(cluster, cluster.osts);
      back.kill();
      restartLater(cluster, back);
      cluster.next.copy = (target) => {
        const again = (left: number) => {
          cluster.later(world.between(1, 12), 'a connection while a member joins', () => {
            network.resetBetween(guest.name, target.name);
            if (left > 1) cluster.later(world.between(400, 900), '', () => again(left - 1));
          });
        };
        again(1 + world.random.below(4));
      };
    },
  },
  /** What a copy has read comes when the next session has copied the same and goes on (I3). */
  overtakenCopy: {
    weight: 3,
    act(cluster) {
      const { world, network, guest, next } = cluster;
      if (guest === null || guest.volume === null) return;
      const back = pick(cluster, cluster.osts);
      restartSoon(cluster, back);
      next.copy = (target) => {
        cluster.later(world.between(0.2, 2), 'what copies read comes late', () => {
          const sources = cluster.osts.filter((node) => node !== target);
          // The next session begins in half a second, and what its copies read comes at once.
          for (const { disk } of sources) disk.slowUntilMs = world.nowMs + world.between(700, 2000);
          cluster.later(world.between(0.1, 0.6), 'the session of a copy ends', () => {
            for (const { disk } of sources) disk.slowUntilMs = 0;
            network.resetBetween(guest.name, target.name);
          });
        });
      };
    },
  },
  /** Where nothing was written for a while a write gets to one OST only, whose successor knows nothing of it (I9). */
  loneColdWrite: {
    weight: 3,
    act(cluster) {
      const { world } = cluster;
      writeToOne(cluster, (lone) => {
        // Its intent and the data are in the page cache, which outlives the process.
        cluster.later(world.between(0.5, 6), 'the writer and its OST end', () => {
          lone.kill();
          cluster.takeover(true);
          cluster.moveOn();
          const { process } = lone;
          cluster.later(world.between(600, 3000), `${lone.name} starts`, () => {
            if (lone.process === process) lone.start();
          });
        });
      });
    },
  },
  /** Reads are answered and may not be delivered yet, and then who answered them loses that (I8). */
  readsBesideLoss: {
    weight: 2,
    act(cluster) {
      const { world, guest } = cluster;
      if (guest === null) return;
      const node = pick(cluster, cluster.osts);
      const others = cluster.osts.filter((one) => one !== node);
      // The answers of the others do not come, so that the session is not confirmed.
      cutFor(
        cluster,
        others.map((one): [string, string] => [one.name, guest.name]),
        world.between(1500, 4000),
      );
      if (world.chance(0.5)) cutFor(cluster, [['mds', guest.name]], world.between(2000, 5000));
      cluster.later(world.between(1200, 3200), 'power of who has answered', () => powerCycle(cluster, node));
    },
  },
  /** Power is lost the moment a write is on its way to a disk (I2). */
  powerAtWrite: {
    weight: 2,
    act(cluster) {
      const { world } = cluster;
      cluster.next.write = (node) => {
        cluster.later(world.between(0, 1.2), 'power at a write', () => {
          powerCycle(cluster, node);
          if (world.chance(0.5)) cluster.takeover(true);
        });
      };
    },
  },
};
