import { bothWays, cutFor, type FaultTable, pick, powerCycle, restartLater } from './faults.js';

/** Directed at fences and at what an earlier session, or a writer that is gone, left on its way. */
export const FENCING_FAULTS: FaultTable = {
  /** The old writer hears nothing of its successor, and first reaches an OST that has restarted since (I4). */
  restartFenced: {
    weight: 2,
    act(cluster) {
      const { world, network, guest } = cluster;
      if (guest === null || guest.volume === null) return;
      const old = guest.name;
      const kept = pick(cluster, cluster.osts);
      const ways = [old, 'mds', ...cluster.osts.map((node) => node.name)].flatMap((name) =>
        name === old || name === kept.name ? [] : bothWays(old, name),
      );
      cutFor(cluster, ways, world.between(4000, 9000));
      cutFor(cluster, bothWays(old, kept.name), 9000);
      cluster.later(world.between(1, 60), 'takes over', () => {
        if (cluster.guest !== guest) return;
        cluster.takeover(false);
        const next = cluster.guest!.name;
        cluster.next.opened = () => {
          cluster.later(world.between(0, 600), 'restarts what is fenced', () => {
            if (world.chance(0.7)) cutFor(cluster, bothWays(next, kept.name), world.between(100, 2500));
            kept.kill();
            kept.start();
            for (const [from, to] of bothWays(old, kept.name)) network.healOne(from, to);
          });
        };
      });
    },
  },
  /** What a writer sent stands still in a disk, or in a connection, while the next session begins (I4). */
  slowAttach: {
    weight: 2,
    act(cluster) {
      const { world, network, guest } = cluster;
      if (guest === null) return;
      const slow = world.chance(0.5) ? cluster.osts : [pick(cluster, cluster.osts)];
      for (const node of slow) node.disk.slowUntilMs = world.nowMs + world.between(50, 1500);
      cluster.later(world.between(0.5, 30), 'a session begins beside a slow disk', () => {
        const next = world.random.below(3);
        if (next === 0) cluster.restartGateway();
        else if (next === 1) cluster.takeover(world.chance(0.5));
        else for (const node of slow) network.resetBetween(guest.name, node.name);
      });
    },
  },
  /** What a writer sends arrives seconds later, when it has given the connection up and made another (I4). */
  deafOsts: {
    weight: 2,
    act(cluster) {
      const { world, guest } = cluster;
      if (guest === null) return;
      const ways = cluster.osts.map((node): [string, string] => [guest.name, node.name]);
      cutFor(cluster, ways, world.between(1800, 3600));
    },
  },
  /** Only one OST has the last writes of a writer that ends, and it is away for its successor (I9). */
  loneWrites: {
    weight: 3,
    act(cluster) {
      const { world, guest } = cluster;
      if (guest === null || guest.volume === null) return;
      const lone = pick(cluster, cluster.osts);
      const others = cluster.osts.filter((node) => node !== lone);
      cutFor(
        cluster,
        others.map((node): [string, string] => [guest.name, node.name]),
        world.between(30, 400),
      );
      cluster.later(world.between(0.3, 15), 'the writer and its OST end', () => {
        if (world.chance(0.5)) powerCycle(cluster, lone);
        else {
          lone.kill();
          restartLater(cluster, lone);
        }
        cluster.takeover(true);
      });
    },
  },
};
