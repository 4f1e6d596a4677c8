import type { Cluster } from './cluster.js';
import { bothWays, cutFor, type FaultTable, pick } from './faults.js';
import type { OstNode } from './ost-node.js';

/** Ended and soon back, so that it left the set with most regions as they are elsewhere. */
export function restartSoon(cluster: Cluster, node: OstNode): void {
  node.kill();
  const { process } = node;
  cluster.world.post(cluster.world.between(5, 300), null, `${node.name} starts`, () => {
    if (node.process === process) node.start();
  });
}

/** Where nothing was written for a while a write gets to one OST only: `onWrite` is told which, as it arrives. */
export function writeToOne(cluster: Cluster, onWrite: (lone: OstNode) => void): void {
  const { world, guest, next } = cluster;
  if (guest === null || guest.volume === null) return;
  const lone = pick(cluster, cluster.osts);
  const others = cluster.osts.filter((node) => node !== lone);
  const ways = others.map((node): [string, string] => [guest.name, node.name]);
  cutFor(cluster, ways, world.between(30, 300));
  cluster.moveOn();
  cluster.later(world.between(0.5, 3), 'waits for a write', () => {
    next.at('write', lone, () => onWrite(lone));
  });
}

/**
 * Directed at windows of less than a millisecond: each waits for the very step beside which it acts, and has the guest
 * write where nothing was written for a while, for regions that are newer anyway hide what went wrong.
 */
export const AIMED_FAULTS: FaultTable = {
  /** The first write to a region reaches one OST, which loses power before its intent is durable; the writer ends (I2). */
  loneIntent: {
    weight: 3,
    act(cluster) {
      const { world } = cluster;
      writeToOne(cluster, (lone) => {
        cluster.later(world.between(0.05, 0.8), 'power at the intent', () => {
          lone.powerLoss();
          lone.start();
          cluster.takeover(true);
          cluster.moveOn();
        });
      });
    },
  },
  /** The list of a resync is on its way while the guest writes elsewhere for the first time (I9). */
  writesBesideList: {
    weight: 2,
    act(cluster) {
      const { world, guest, next } = cluster;
      if (guest === null || guest.volume === null) return;
      const back = pick(cluster, cluster.osts);
      restartSoon(cluster, back);
      next.at('list', back, () => {
        const others = cluster.osts.filter((node) => node !== back);
        const ways = others.map((node): [string, string] => [node.name, guest.name]);
        cutFor(cluster, ways, world.between(3, 60));
        cluster.moveOn();
      });
    },
  },
  /** The flush of a join takes long: the guest writes beside it and then falls silent, or the session ends (I9). */
  slowJoin: {
    weight: 3,
    act(cluster) {
      const { world, network, guest, next } = cluster;
      if (guest === null || guest.volume === null) return;
      const back = pick(cluster, cluster.osts);
      restartSoon(cluster, back);
      next.copy = (target) => {
        next.at('flush', target, () => {
          const forMs = world.between(3, 200);
          target.disk.slowUntilMs = world.nowMs + forMs;
          // What is written meanwhile is quick again.
          cluster.later(0.01, '', () => {
            target.disk.slowUntilMs = 0;
          });
          if (world.chance(0.4)) {
            cluster.later(world.between(0, forMs), 'a session ends at its join', () => {
              network.resetBetween(guest.name, target.name);
              // What waits for ever is seen only where nothing else goes wrong that would end it.
              if (world.chance(0.3)) cluster.undisturbed = true;
            });
          } else cluster.later(world.between(0.3, forMs), '', () => cluster.quiet(world.between(1000, 2500)));
        });
      };
    },
  },
  /** A copy of a session that has ended goes on beside the writes of the next one (I3). */
  lateCopy: {
    weight: 2,
    act(cluster) {
      const { world, network, guest, next } = cluster;
      if (guest === null || guest.volume === null) return;
      const back = pick(cluster, cluster.osts);
      if (world.chance(0.5)) cluster.restartGateway();
      else restartSoon(cluster, back);
      next.copy = (target) => {
        for (const node of cluster.osts) {
          if (node !== target) node.disk.slowUntilMs = world.nowMs + world.between(200, 1500);
        }
        cluster.later(world.between(0.3, 4), 'the session of a copy ends', () => {
          network.slowUntilMs = world.nowMs + world.between(500, 2000);
          network.resetBetween(guest.name, target.name);
        });
      };
    },
  },
  /** What a connection carries stands still while the writer has made another and goes on (I4). */
  staleSocket: {
    weight: 2,
    act(cluster) {
      const { world, network, guest } = cluster;
      if (guest === null || guest.volume === null) return;
      const some = world.chance(0.5) ? cluster.osts : [pick(cluster, cluster.osts)];
      const torn = world.chance(0.7);
      for (const node of some) {
        const forMs = torn ? world.between(5, 1200) : world.between(2100, 4000);
        network.stall(guest.name, node.name, forMs);
        if (!torn) continue;
        cluster.later(world.between(0.2, 5), 'a connection ends on one side', () =>
          network.endAt(guest.name, node.name),
        );
      }
    },
  },
  /** A disk holds back what one session has sent; the next session finds it fast (I4). */
  heldWrites: {
    weight: 2,
    act(cluster) {
      const { world, network, guest, next } = cluster;
      if (guest === null || guest.volume === null) return;
      const node = pick(cluster, cluster.osts);
      const restarts = world.chance(0.2);
      next.at('write', node, () => {
        node.disk.slowUntilMs = world.nowMs + (restarts ? world.between(1500, 4000) : world.between(10, 400));
        // Not longer than for a few writes: commits take effect in order, so one that is slow holds up the attach.
        cluster.later(world.between(0.01, 0.8), '', () => {
          node.disk.slowUntilMs = 0;
        });
        cluster.later(world.between(0.3, 2), 'a session begins beside held writes', () => {
          if (restarts) cluster.restartGateway();
          else network.resetBetween(guest.name, node.name);
        });
      });
    },
  },
  /** Every OST restarts before the successor is attached again, and the old writer is the first to come (I4). */
  restartAllFenced: {
    weight: 2,
    act(cluster) {
      const { world, network, guest, next } = cluster;
      if (guest === null || guest.volume === null) return;
      const old = guest.name;
      const away = ['mds', ...cluster.osts.map((node) => node.name)].flatMap((name) => bothWays(old, name));
      cutFor(cluster, away, 9000);
      cluster.later(world.between(1, 60), 'takes over', () => {
        if (cluster.guest !== guest) return;
        cluster.takeover(false);
        const after = cluster.guest!.name;
        next.opened = () => {
          cluster.later(world.between(0, 300), 'restarts all that is fenced', () => {
            const ways = cluster.osts.flatMap((node) => bothWays(after, node.name));
            cutFor(cluster, ways, world.between(300, 2500));
            for (const node of cluster.osts) {
              if (node.process?.alive) node.kill();
              node.start();
              for (const [from, to] of bothWays(old, node.name)) network.healOne(from, to);
            }
          });
        };
      });
    },
  },
};
