/** Object storage target: one process or part of one, for one disk or directory. */

import { hostname } from 'node:os';
import { asRawstorError } from '../common/errors.js';
import { LoopStall } from '../common/loop-stall.js';
import { warnIfOpen } from '../common/private-files.js';
import type { Address } from '../io/index.js';
import {
  Connector,
  MgsReporter,
  type OstConnector,
  type OstInfo,
  type ServerInfo,
} from '../protocol/index.js';
import { Collector } from './collector.js';
import { OstControl } from './control.js';
import { CopyEngine } from './copy.js';
import { OstCore } from './core.js';
import { openOstDirectory } from './directory.js';
import { DrainMark } from './drain-mark.js';
import type { OstEnvironment } from './environment.js';
import { Heartbeat } from './heartbeat.js';
import { LocalConnector } from './local-peer.js';
import { OstServer } from './server.js';
import { DEFAULT_TUNING, type OstTuning } from './tuning.js';

export interface StartOstOptions extends OstEnvironment {
  readonly dir: string;
  readonly listen: readonly Address[];
  /** Addresses told to others; those listened on when left out. */
  readonly advertise?: readonly Address[] | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
  /** It joins no other cluster. */
  readonly clusterId?: string | undefined;
  readonly mdsAddresses?: readonly Address[] | undefined;
  readonly mgsAddresses?: readonly Address[] | undefined;
  readonly tuning?: Partial<OstTuning> | undefined;
}

export interface RunningOst {
  readonly ostId: string;
  readonly addresses: readonly Address[];
  /** For clients of this process. */
  readonly connector: OstConnector;
  close(): Promise<void>;
}

/** Of the regions' clock: see RegionMirror. */
const TICK_MS = 100;

/** @throws RawstorError BUSY, CANNOT_CREATE, BAD_DATA, DENIED */
export async function startOst(options: StartOstOptions): Promise<RunningOst> {
  const { io, clock, log } = options;
  const tuning = { ...DEFAULT_TUNING, ...options.tuning };
  const directory = await openOstDirectory(io, options.dir, clock.wallMs(), options.clusterId);
  warnIfOpen(options.dir, log);
  const { ostId } = directory;
  const identity = {
    role: 'ost' as const,
    get clusterId() {
      return directory.clusterId || (options.clusterId ?? '');
    },
    name: `ost ${ostId}@${hostname()}:${process.pid}`,
    serverId: ostId,
  };
  const core = new OstCore(ostId, options, directory.storage, directory.records, tuning);
  const mark = new DrainMark(directory.records, (changes) => core.commit(changes));
  let addresses: Address[] = [];
  const labels = { host: hostname(), ...options.labels };
  const info = (): OstInfo => ({
    ostId,
    addresses: [...(options.advertise ?? addresses)],
    labels,
    ...core.space.figures(),
    bootId: core.bootId,
    damagedBlocks: core.damage.count,
    foundBlocks: core.damage.foundTotal,
    repairedBlocks: core.damage.repairedTotal,
    draining: mark.draining,
  });
  const stall = new LoopStall(clock);
  const copies = new CopyEngine(core, new Connector({ io, clock, identity }), tuning);
  const beats: Heartbeat[] = [];
  const collector =
    (options.mdsAddresses ?? []).length === 0
      ? null
      : new Collector(core, (report) => (beats.find((beat) => beat.connected) ?? beats[0]!).report(report));
  const control = new OstControl(core, copies, { info, loopStallMaxMs: () => stall.maxMs, collector });
  const server = new OstServer(core, control, identity, tuning.connections);
  try {
    await core.open();
    addresses = await server.listen(options.listen);
  } catch (error) {
    stall.stop();
    await server.close();
    await directory.records.close();
    directory.release();
    throw directory.located(error);
  }
  const ticker = clock.every(TICK_MS, () => {
    core.regions.tick++;
  });
  core.integrity?.start();
  const owner = {
    joined: (clusterId: string) => directory.joinCluster(clusterId),
    draining: (draining: boolean) => mark.set(draining),
    deleteObject: (id: string) => core.removal.remove(id),
    leaveObject: (id: string, epoch: number) => core.removal.leave(id, epoch),
  };
  const env = { io, clock, log };
  const serverInfo = (): ServerInfo => {
    const { ostId: id, bootId: _, ...known } = info();
    return { role: 'ost', id, ...known, loopStallMaxMs: stall.maxMs };
  };
  for (const address of options.mdsAddresses ?? []) {
    beats.push(new Heartbeat(env, address, identity, tuning.heartbeatMs, info, owner));
  }
  const collecting = clock.every(tuning.collectPeriodMs, () => {
    collector?.run(false).catch((error) => {
      log.debug({ reason: asRawstorError(error).toUserText() }, 'nothing collected now');
    });
  });
  const heartbeats = [
    ...beats,
    ...(options.mgsAddresses ?? []).map((address) => new MgsReporter(env, address, identity, serverInfo)),
  ];
  log.info({ ostId, addresses, dir: options.dir }, 'OST serves');
  return {
    ostId,
    addresses,
    connector: new LocalConnector(core, control),
    close: async () => {
      ticker.cancel();
      collecting.cancel();
      stall.stop();
      await Promise.all(heartbeats.map((heartbeat) => heartbeat.close()));
      copies.close();
      await server.close();
      await core.close();
      directory.release();
    },
  };
}

export type { OstTuning } from './tuning.js';
