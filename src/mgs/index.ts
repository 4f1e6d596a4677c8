import { hostname } from 'node:os';
import { programVersion } from '../common/build-info.js';
import type { Clock } from '../common/clock.js';
import type { Logger } from '../common/log.js';
import { warnIfOpen } from '../common/private-files.js';
import type { Address, Io } from '../io/index.js';
import { MgsDirectory } from './directory.js';
import { StatusHttp } from './http.js';
import { createMetrics } from './metrics.js';
import { Registry } from './registry.js';
import { MgsServer } from './server.js';

export interface StartMgsOptions {
  /** Directory of its own; made an MGS's when empty. */
  readonly dir: string;
  readonly listen: Address | readonly Address[];
  /** Where the status page and the metrics are; default: nowhere. */
  readonly httpListen?: Address | undefined;
  /** Default: that of the first MDS which registers. */
  readonly clusterId?: string | undefined;
  readonly io: Io;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface RunningMgs {
  /** With the real ports. */
  readonly addresses: readonly Address[];
  readonly httpAddress: Address | null;
  /** '' until an MDS has registered. */
  readonly clusterId: string;
  close(): Promise<void>;
}

/**
 * Starts a management server: who is in the cluster, and the status page.
 * @throws RawstorError BUSY (directory or address in use), CONFIG, BAD_DATA, VERSION
 */
export async function startMgs(options: StartMgsOptions): Promise<RunningMgs> {
  const { io, clock, log } = options;
  const directory = await MgsDirectory.open(options.dir, options.clusterId);
  warnIfOpen(options.dir, log);
  const registry = new Registry(clock);
  const server = new MgsServer(
    { io, clock, log },
    registry,
    directory,
    `rawstor-mgs@${hostname()}:${process.pid}`,
  );
  let http: StatusHttp | null = null;
  const close = async () => {
    await http?.close();
    await server.close();
    directory.close();
  };
  try {
    registry.restore(await directory.readServers(log));
    const listen = typeof options.listen === 'string' ? [options.listen] : options.listen;
    const addresses = await server.listen(listen);
    if (options.httpListen !== undefined) {
      const version = programVersion();
      const view = () => ({
        clusterId: directory.clusterId,
        version,
        nowWallMs: clock.wallMs(),
        servers: registry.servers(),
      });
      const metrics = createMetrics(registry, clock, version);
      http = await StatusHttp.listen(options.httpListen, { view, metrics, log });
    }
    const httpAddress = http?.address ?? null;
    log.info({ addresses, httpAddress, clusterId: directory.clusterId, dir: options.dir }, 'MGS serves');
    return {
      addresses,
      httpAddress,
      get clusterId() {
        return directory.clusterId;
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
