import { bothWays, cutFor, type FaultTable, killMds, pick, powerCycle, restartLater } from './faults.js';

/**
 * Sequences that single faults rarely add up to, begun at a random moment of a history like any other fault.
 * Each aims at one of the rules whose breach needs several things to coincide.
 */

export const DIRECTED: FaultTable = {
  /** The old writer runs on and reaches one OST, which the new one may not reach (I4, I5, I14). */
  takeoverApart: {
    weight: 3,
    act(cluster) {
      const { world, guest } = cluster;
      if (guest === null || guest.volume === null) return;
      const old = guest.name;
      const kept = pick(cluster, cluster.osts);
      const ways = bothWays(old, 'mds');
      for (const node of cluster.osts)
        if (node !== kept && world.chance(0.8)) ways.push(...bothWays(old, node.name));
      cutFor(cluster, ways, world.between(300, 6000));
      cluster.later(world.between(0, 900), 'takes over', () => {
        if (cluster.guest !== guest) return;
        cluster.takeover(false);
        const next = cluster.guest!.name;
        if (world.chance(0.5)) cutFor(cluster, bothWays(next, kept.name), world.between(500, 5000));
        if (world.chance(0.5)) {
          cluster.later(world.between(5, 2500), 'restarts what the old writer reaches', () => {
            kept.kill();
            restartLater(cluster, kept);
          });
        }
      });
    },
  },
  /** Compare-and-swaps are recorded and not answered, and then somebody crashes (I1, I6). */
  lostSwapAnswers: {
    weight: 3,
    act(cluster) {
      const { world, guest, network, mds } = cluster;
      if (guest === null) return;
      const node = pick(cluster, cluster.osts);
      mds.onNextSwap = () => {
        cutFor(cluster, [['mds', guest.name]], world.between(50, 5000));
        const next = world.random.below(4);
        if (next === 0) cluster.restartGateway();
        else if (next === 1) killMds(cluster, world.between(10, 2000));
        else if (next === 2) {
          // Of whoever is left, while reads that it has answered wait for the record.
          cluster.later(world.between(0, 2500), 'power during a compare-and-swap', () => {
            powerCycle(cluster, pick(cluster, cluster.osts));
          });
        } else {
          // Whoever joins by it may be lost while it is unanswered.
          const other = pick(cluster, cluster.osts);
          cluster.later(world.between(0.5, 300), 'a connection during a compare-and-swap', () => {
            network.resetBetween(guest.name, other.name);
          });
        }
      };
      if (world.chance(0.5)) network.reset(node.name);
      else {
        node.kill();
        restartLater(cluster, node);
      }
    },
  },
  /** The MDS dies at any step of the next compare-and-swap or open. */
  mdsDiesMidway: {
    weight: 2,
    act(cluster) {
      const { world, mds } = cluster;
      mds.onNextSwap = () => {
        cluster.later(world.between(0, 1.5), 'mds dies', () => killMds(cluster, world.between(10, 2000)));
      };
    },
  },
  /** Writer after writer, each gone within its wait or soon after (I7, I14). */
  writerAfterWriter: {
    weight: 2,
    act(cluster) {
      const { world } = cluster;
      let left = 2 + world.random.below(3);
      const again = () => {
        if (left-- === 0) return;
        if (world.chance(0.5)) cluster.restartGateway();
        else cluster.takeover(world.chance(0.6));
        cluster.later(world.between(20, 2200), 'the next writer', again);
      };
      again();
    },
  },
  /** One OST is away for long, and another loses what only it has, beside what others have too (I7, I8). */
  lossBesideAbsence: {
    weight: 2,
    act(cluster) {
      const { world } = cluster;
      const away = pick(cluster, cluster.osts);
      away.kill();
      const { process } = away;
      cluster.later(world.between(2000, 6000), `${away.name} starts`, () => {
        if (away.process === process) away.start();
      });
      cluster.later(world.between(50, 2000), 'power beside an absence', () => {
        powerCycle(
          cluster,
          pick(
            cluster,
            cluster.osts.filter((node) => node !== away),
          ),
        );
      });
    },
  },
  /** A writer ends when only some replicas have its last writes, and what should make them alike is slow (I7). */
  tornWriter: {
    weight: 3,
    act(cluster) {
      const { world, guest } = cluster;
      if (guest === null || guest.volume === null) return;
      const late = pick(cluster, cluster.osts);
      cutFor(cluster, [[guest.name, late.name]], world.between(30, 1500));
      cluster.later(world.between(0.5, 20), 'the writer ends', () => {
        const between = cluster.osts.flatMap((one) => (one === late ? [] : bothWays(one.name, late.name)));
        cutFor(cluster, between, world.between(500, 3000));
        if (world.chance(0.5)) cluster.restartGateway();
        else cluster.takeover(true);
      });
    },
  },
  /** The source or the target of a resync is lost in the middle of it (I9). */
  resyncUnderFire: {
    weight: 2,
    act(cluster) {
      const { world } = cluster;
      const back = pick(cluster, cluster.osts);
      back.kill();
      restartLater(cluster, back);
      cluster.next.copy = () => {
        cluster.later(world.between(0, 6), 'in the middle of a copy', () => {
          const node = pick(cluster, cluster.osts);
          const what = world.random.below(3);
          if (what === 0) cluster.network.reset(node.name);
          else if (what === 1) powerCycle(cluster, node);
          else cluster.restartGateway();
        });
      };
    },
  },
  /** A copy is under way when the session that ordered it ends, and its writes are slow (I3). */
  copyOutlivesSession: {
    weight: 1,
    act(cluster) {
      const { world, network, guest } = cluster;
      if (guest === null) return;
      const back = pick(cluster, cluster.osts);
      network.reset(back.name);
      cluster.next.copy = (target) => {
        cluster.later(world.between(0, 3), 'the session of a copy ends', () => {
          target.disk.slowUntilMs = world.nowMs + world.between(5, 900);
          network.resetBetween(guest.name, target.name);
        });
      };
      if (world.chance(0.5)) cluster.restartGateway();
      else {
        back.kill();
        restartLater(cluster, back);
      }
    },
  },
  /** A sync fails, and what only the page cache had is then lost as well (I10). */
  failSyncThenPowerLoss: {
    weight: 2,
    act(cluster) {
      const { world } = cluster;
      const alone = world.chance(0.5);
      const node = pick(cluster, cluster.osts);
      if (alone) for (const other of cluster.osts) if (other !== node) other.disk.failSyncs++;
      node.disk.failSyncs++;
      cluster.later(world.between(20, 3000), 'power after a failed sync', () => powerCycle(cluster, node));
    },
  },
  /** The power of the whole site, machines back one by one. */
  siteBlackout: {
    weight: 2,
    act(cluster) {
      const { world } = cluster;
      if (world.chance(0.5)) cluster.restartGateway();
      for (const node of cluster.osts) powerCycle(cluster, node);
      if (world.chance(0.3)) killMds(cluster, world.between(10, 3000));
    },
  },
};
