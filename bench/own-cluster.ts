import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import { Cluster } from '../src/client/index.js';
import { systemClock } from '../src/common/clock.js';
import { createIo } from '../src/io/index.js';
import { type LayoutName, startRawstor } from './ours/cluster.js';
import type { Subject } from './types.js';

/** Where a cluster of each kind is found in its directory. */
const LOCATION: Record<LayoutName, (dir: string) => string> = {
  local: (dir) => `unix:${join(dir, 'mds.sock')}`,
  replicated3: (dir) => dir,
};

/** A cluster on this machine that a benchmark asks for more than reads and writes. */
export class OwnCluster {
  readonly server: Subject;
  readonly client: Cluster;
  /** Where all its servers keep what they have. */
  readonly dir: string;

  private constructor(server: Subject, client: Cluster, dir: string) {
    this.dir = dir;
    this.server = server;
    this.client = client;
  }

  /** Runs `work` beside a new one, which is gone afterwards with all its data. */
  static async with(
    kind: LayoutName,
    cpu: number | undefined,
    work: (cluster: OwnCluster) => Promise<void>,
  ): Promise<void> {
    const cache = fileURLToPath(new URL('../.cache/bench', import.meta.url));
    await mkdir(cache, { recursive: true });
    const dir = await mkdtemp(join(cache, 'own-'));
    const options = { dir, sizeBytes: 2 ** 20 };
    const server = await startRawstor(kind)(cpu === undefined ? options : { ...options, cpu });
    const io = createIo({ poolBytes: 2 ** 24 });
    const env = { io, clock: systemClock, log: pino({ level: 'silent' }), name: 'bench' };
    try {
      const client = await Cluster.connect({ ...env, location: LOCATION[kind](dir) });
      await work(new OwnCluster(server, client, dir));
      await client.close();
    } finally {
      await server.stop();
      await io.close();
      await rm(dir, { recursive: true, force: true });
    }
  }

  /** A volume of which every OST that has a replica has all. */
  async create(name: string, sizeBytes: number, replicas: number): Promise<Subject> {
    await this.client.createVolume({
      name,
      sizeBytes,
      chunkSizeBytes: 2 ** 30,
      replicas,
      minReplicas: 1,
      stripeWidth: 1,
      failureDomain: 'host',
      near: null,
      onDegraded: 'pause',
    });
    return { ...this.server, name, uri: this.server.uri.replace('/bench?', `/${name}?`) };
  }
}
