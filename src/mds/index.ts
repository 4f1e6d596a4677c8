import { hostname } from 'node:os';
import type { Clock } from '../common/clock.js';
import type { Logger } from '../common/log.js';
import { LoopStall } from '../common/loop-stall.js';
import { warnIfOpen } from '../common/private-files.js';
import { type Random, systemRandom } from '../common/random.js';
import type { Address, Io } from '../io/index.js';
import { type Connection, MgsReporter } from '../protocol/index.js';
import { openMdsDirectory } from './directory.js';
import type { LeaseTimes } from './leases.js';
import { Mds } from './mds.js';
import { MdsServer } from './server.js';

export { allocate } from './allocate.js';
export { DumpText, eachPage, parseDump, withoutSecrets } from './dump.js';
export { dumpDirectory, type TakesPage } from './dump-directory.js';
export { DEFAULT_LEASE_TIMES, type LeaseTimes } from './leases.js';
export { Mds, type MdsOptions } from './mds.js';
export * from './rebuild/index.js';
export type { MetadataStore } from './store.js';
export { MemoryStore } from './store-memory.js';

export interface StartMdsOptions {
  /** Directory of its own; made an MDS's when empty. */
  readonly dir: string;
  /** Refuse a directory that is empty. */
  readonly existing?: boolean | undefined;
  readonly listen: Address | readonly Address[];
  /** Of a new cluster; an existing directory must be of it. Default: made up at the first start. */
  readonly clusterId?: string | undefined;
  /** Addresses to tell the MGS; default: those listened on, a wildcard as this host's name. */
  readonly advertise?: readonly Address[] | undefined;
  readonly mgsAddresses?: readonly Address[] | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
  readonly leaseTimes?: LeaseTimes | undefined;
  /** Replaces an OST that has been away for so long; 0: never. Default: an hour. */
  readonly replaceAfterMs?: number | undefined;
  readonly io: Io;
  readonly clock: Clock;
  readonly log: Logger;
  readonly random?: Random | undefined;
}

const REPLACE_AFTER_MS = 3_600_000;

export interface RunningMds {
  /** With the real ports. */
  readonly addresses: readonly Address[];
  readonly clusterId: string;
  close(): Promise<void>;
}

/**
 * Starts a metadata server.
 * @throws RawstorError BUSY (directory or address in use), CONFIG, BAD_DATA, VERSION
 */
export async function startMds(options: StartMdsOptions): Promise<RunningMds> {
  const { io, clock, log } = options;
  const env = { io, clock, log };
  const directory = await openMdsDirectory(options.dir, options.clusterId, options.existing);
  warnIfOpen(options.dir, log);
  const { clusterId, serverId, store } = directory;
  const name = `rawstor-mds@${hostname()}:${process.pid}`;
  const stall = new LoopStall(clock);
  let server: MdsServer | null = null;
  try {
    const mds = await Mds.start({
      store,
      clusterId,
      clock,
      random: options.random ?? systemRandom,
      replaceAfterMs: options.replaceAfterMs ?? REPLACE_AFTER_MS,
      log,
      loopStallMaxMs: () => stall.maxMs,
      onRemoved: (objectId, ostIds) => server?.tellDeleted(objectId, ostIds),
      onNotice: (caller, notice) => server?.tellHolder(caller as Connection, notice),
      ...(options.leaseTimes === undefined ? {} : { leaseTimes: options.leaseTimes }),
    });
    server = new MdsServer(env, mds, name);
    const listen = typeof options.listen === 'string' ? [options.listen] : options.listen;
    const addresses = await server.listen(listen);
    const labels = { host: hostname(), ...options.labels };
    const advertised = options.advertise ?? addresses.map(withoutWildcard);
    const reporters = (options.mgsAddresses ?? []).map(
      (address) =>
        new MgsReporter(env, address, { role: 'mds', clusterId, name }, () => ({
          role: 'mds',
          id: serverId,
          addresses: [...advertised],
          labels,
          capacityBytes: 0,
          freeBytes: 0,
          loopStallMaxMs: stall.maxMs,
        })),
    );
    log.info({ addresses, dir: options.dir, ...(await mds.stat()) }, 'MDS serves');
    const running = server;
    return {
      addresses,
      clusterId,
      close: async () => {
        stall.stop();
        await Promise.all(reporters.map((reporter) => reporter.close()));
        await mds.end();
        await running.close();
        await directory.close();
      },
    };
  } catch (error) {
    stall.stop();
    await server?.close();
    await directory.close();
    throw directory.located(error);
  }
}

function withoutWildcard(address: Address): Address {
  return address.replace(/^tcp:\/\/(0\.0\.0\.0|\[::\]):/, `tcp://${hostname()}:`);
}
