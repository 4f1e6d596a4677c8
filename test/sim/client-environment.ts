import { silentLogger } from '../../src/common/log.js';
import { MiB } from '../../src/common/units.js';
import type { ChunkOp } from '../../src/protocol/index.js';
import type { Cluster } from './cluster.js';
import { connectOst } from './peer.js';
import type { SimProcess } from './process.js';

/** What a client of the cluster runs on in this process. @param onSent told of each write that goes out */
export function clientEnvironment(
  { world, network, nodes, load }: Cluster,
  process: SimProcess,
  onSent: (op: ChunkOp) => void = () => {},
) {
  return {
    io: process.io,
    clock: process.clock,
    log: silentLogger,
    connector: {
      connect: async (ostId: string) => {
        const peer = await connectOst(world, network, process, nodes, ostId);
        peer.onSent = onSent;
        return peer;
      },
    },
    host: process.name,
    confirmMs: 1000,
    silenceMs: 2000,
    stuckMs: 60_000,
    seals: { idleMs: 5000, periodMs: load.sealPeriodMs, leastMs: 200, bytes: 8 * MiB },
    degradedGraceMs: 5000,
  };
}
