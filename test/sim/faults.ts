import type { Cluster } from './cluster.js';
import type { OstNode } from './ost-node.js';
import { loseMds } from './rebuild.js';

export type FaultTable = Record<string, { weight: number; act: (cluster: Cluster) => void }>;

export const pick = <T>(cluster: Cluster, of: readonly T[]): T => of[cluster.world.random.below(of.length)]!;

export function restartLater(cluster: Cluster, node: OstNode): void {
  const { world } = cluster;
  const delayMs = world.chance(0.3) ? world.between(1, 100) : world.between(100, 8000);
  const { process } = node;
  world.post(delayMs, null, `${node.name} starts`, () => {
    if (node.process === process) node.start();
  });
}

export const bothWays = (a: string, b: string): [string, string][] => [
  [a, b],
  [b, a],
];

export function powerCycle(cluster: Cluster, node: OstNode): void {
  const wasAlive = node.process?.alive ?? false;
  node.powerLoss();
  if (wasAlive) restartLater(cluster, node);
}

/** Cuts ways from one machine to another, and heals them later. */
export function cutFor(cluster: Cluster, ways: readonly [string, string][], forMs: number): void {
  const { world, network } = cluster;
  for (const [from, to] of ways) network.cut(from, to);
  world.post(forMs, null, `heals ${ways.map((way) => way.join('>')).join(' ')}`, () => {
    for (const [from, to] of ways) network.healOne(from, to);
  });
}

export function killMds(cluster: Cluster, forMs: number): void {
  const { world, mds } = cluster;
  if (!mds.process?.alive) return;
  mds.kill();
  const { process } = mds;
  world.post(forMs, null, 'mds starts', () => {
    if (mds.process === process) mds.start();
  });
}

/** What goes wrong by itself, with how often. */
export const FAULTS: FaultTable = {
  killOst: {
    weight: 6,
    act(cluster) {
      const node = pick(cluster, cluster.osts);
      if (!node.process?.alive) return;
      node.kill();
      restartLater(cluster, node);
    },
  },
  powerLoss: {
    weight: 4,
    act(cluster) {
      const all = cluster.world.chance(0.15);
      for (const node of all ? cluster.osts : [pick(cluster, cluster.osts)]) {
        const wasAlive = node.process?.alive ?? false;
        node.powerLoss();
        if (wasAlive) restartLater(cluster, node);
      }
    },
  },
  pauseOst: {
    weight: 3,
    act(cluster) {
      const { process } = pick(cluster, cluster.osts);
      if (process) process.pauseFor(cluster.world.between(50, 4000));
    },
  },
  failSync: {
    weight: 2,
    act(cluster) {
      pick(cluster, cluster.osts).disk.failSyncs++;
    },
  },
  slowDisk: {
    weight: 2,
    act(cluster) {
      pick(cluster, cluster.osts).disk.slowUntilMs = cluster.world.nowMs + cluster.world.between(10, 2500);
    },
  },
  resetConnection: {
    weight: 5,
    act(cluster) {
      cluster.network.reset(pick(cluster, ['mds', ...cluster.osts.map((node) => node.name)]));
    },
  },
  slowNetwork: {
    weight: 2,
    act(cluster) {
      cluster.network.slowUntilMs = cluster.world.nowMs + cluster.world.between(10, 1000);
    },
  },
  partition: {
    weight: 5,
    act(cluster) {
      const { world } = cluster;
      const names = ['mds', 'host0', 'host1', ...cluster.osts.map((node) => node.name)];
      const [a, b] = [pick(cluster, names), pick(cluster, names)];
      if (a === b) return;
      const ways: [string, string][] = world.chance(0.5)
        ? [[a, b]]
        : [
            [a, b],
            [b, a],
          ];
      cutFor(cluster, ways, world.between(50, 6000));
    },
  },
  killMds: {
    weight: 3,
    act(cluster) {
      killMds(cluster, cluster.world.between(10, 4000));
    },
  },
  loseMds: {
    weight: 1.5,
    act: loseMds,
  },
  restartGateway: {
    weight: 3,
    act(cluster) {
      cluster.restartGateway();
    },
  },
  pauseGateway: {
    weight: 3,
    act(cluster) {
      const { guest, world } = cluster;
      if (guest !== null) guest.process.pauseFor(world.between(50, 4000));
    },
  },
  fullDisk: {
    weight: 1,
    act(cluster) {
      const { world } = cluster;
      const { disk } = pick(cluster, cluster.osts);
      disk.full = true;
      disk.timesFull++;
      world.post(world.between(100, 4000), null, `${disk.name} has space`, () => {
        disk.full = false;
      });
    },
  },
  pauseMds: {
    weight: 2,
    act(cluster) {
      const { process } = cluster.mds;
      if (process) process.pauseFor(cluster.world.between(50, 4000));
    },
  },
  clockJump: {
    weight: 1,
    act(cluster) {
      const { world, mds, guest } = cluster;
      const process = pick(cluster, [
        mds.process,
        guest?.process,
        ...cluster.osts.map((node) => node.process),
      ]);
      if (process) process.wallOffsetMs += world.between(-3_600_000, 3_600_000);
    },
  },
  guestDies: {
    weight: 3,
    act(cluster) {
      cluster.takeover(true);
    },
  },
  takeover: {
    weight: 3,
    act(cluster) {
      cluster.takeover(false);
    },
  },
};
