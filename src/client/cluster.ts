import { hostname } from 'node:os';
import type { Clock } from '../common/clock.js';
import { resolveLocation } from '../common/config.js';
import { asRawstorError, RawstorError } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import type { Io } from '../io/types.js';
import { Connection } from '../protocol/connection.js';
import { ASKS_ONLY } from '../protocol/connection-handler.js';
import { Connector } from '../protocol/connector.js';
import type { Params } from '../protocol/messages.js';
import type { CreateSpec, ObjectInfo } from '../protocol/object-info.js';
import type { OstConnector } from '../protocol/ost-peer.js';
import type { VersionChange } from '../protocol/version-messages.js';
import { type ChangeOptions, changeVolume } from './change.js';
import { ControlLink } from './control-link.js';
import { type CreatedVolume, cloneVolume, createVolume } from './create.js';
import { type OpenVolumeOptions, openVolume } from './open.js';
import { CopyThrottle } from './recovery/throttle.js';
import { renameVolume } from './rename.js';
import { DEFAULT_SEAL_TIMES, type SealTimes } from './seal-due.js';
import { SnapshotReader } from './snapshot/reader.js';
import { SnapshotReplicas } from './snapshot/replicas.js';
import type { Volume } from './volume.js';

export interface ClusterOptions {
  /** As `--location`; undefined looks at the usual places. */
  readonly location?: string | undefined;
  readonly configFile?: string | undefined;
  readonly io: Io;
  readonly clock: Clock;
  readonly log: Logger;
  /** For logs and leases: program and what it serves. */
  readonly name: string;
  /** OSTs of this process, by id: reached without a socket. */
  readonly localOsts?: ReadonlyMap<string, OstConnector>;
  /** Host label of this machine: its replicas are read first. */
  readonly host?: string | undefined;
  /** T of docs/consistency, 1000. */
  readonly confirmMs?: number;
  /** After how long of silence an OST is given up, 2000. */
  readonly silenceMs?: number;
  /** How long replicas may be missing before I/O fails, where a volume's policy is to fail; 5000. */
  readonly degradedGraceMs?: number;
  /** Most that resyncs and moves copy, over all volumes; null for no bound. */
  readonly recoveryBytesPerSecond?: number | null;
  readonly seals?: Partial<SealTimes>;
}

const CONNECT_TIMEOUT_MS = 3000;

/** A client's view of a cluster: how to find it, its MDS, and its volumes. */
export class Cluster {
  readonly mds: ControlLink;
  /** Null where the cluster is known without one. */
  readonly mgs: ControlLink | null;
  private readonly options: ClusterOptions;
  private readonly throttle: CopyThrottle | null;
  private readonly identity: { role: 'client'; clusterId: string; name: string };

  private constructor(
    options: ClusterOptions,
    identity: Cluster['identity'],
    mdsAddresses: readonly string[],
    mgsAddresses: readonly string[],
  ) {
    this.options = options;
    const rate = options.recoveryBytesPerSecond ?? null;
    this.throttle = rate === null ? null : new CopyThrottle(options.clock, rate);
    this.identity = identity;
    const env = { io: options.io, clock: options.clock, log: options.log, identity };
    this.mds = new ControlLink(env, 'mds', mdsAddresses);
    this.mgs = mgsAddresses.length === 0 ? null : new ControlLink(env, 'mgs', mgsAddresses);
  }

  /** @throws RawstorError CONFIG, NOT_FOUND, UNAVAILABLE, VERSION, DENIED */
  static async connect(options: ClusterOptions): Promise<Cluster> {
    const location = resolveLocation(options.location, process.env, process.cwd(), options.configFile);
    const identity = {
      role: 'client' as const,
      clusterId: '',
      name: `${options.name}@${hostname()}:${process.pid}`,
    };
    if (location.kind === 'config') {
      const { mds, mgs, clusterId } = location.config;
      identity.clusterId = clusterId ?? '';
      if (mds.length > 0) return new Cluster(options, identity, mds, mgs);
      return Cluster.fromAddresses(options, identity, mgs, location.path);
    }
    return Cluster.fromAddresses(options, identity, location.addresses, 'location');
  }

  /** Opens a volume and gives it as a block device. @throws RawstorError NOT_FOUND, BUSY, UNAVAILABLE, FENCED */
  openVolume(ref: string, options: OpenVolumeOptions): Promise<Volume> {
    const { io, clock, log } = this.options;
    const env = {
      io,
      clock,
      log,
      connector: this.connector(),
      throttle: this.throttle,
      host: this.options.host ?? '',
      confirmMs: this.options.confirmMs ?? 1000,
      silenceMs: this.options.silenceMs ?? 2000,
      degradedGraceMs: this.options.degradedGraceMs ?? 5000,
      seals: { ...DEFAULT_SEAL_TIMES, ...this.options.seals },
    };
    return openVolume(env, this.mds, ref, options, options.holder ?? this.identity.name);
  }

  /** Makes a volume, its record on its OSTs included. @throws RawstorError EXISTS, UNSATISFIABLE, UNAVAILABLE */
  createVolume(spec: CreateSpec, timeoutMs?: number): Promise<CreatedVolume> {
    return createVolume(this.mds, this.connector(), spec, timeoutMs);
  }

  /** Makes a volume over a snapshot of another. @throws RawstorError NOT_FOUND, EXISTS, INVALID, LIMIT, UNAVAILABLE */
  cloneVolume(request: Params<'mds.clone'>, timeoutMs?: number): Promise<CreatedVolume> {
    return cloneVolume(this.mds, this.connector(), request, timeoutMs);
  }

  /** By the volume's holder, or here where nobody has it open. @throws RawstorError as `changeVolume` does */
  changeVolume(
    ref: string,
    change: VersionChange,
    options: Omit<ChangeOptions, 'clock'>,
  ): Promise<ObjectInfo> {
    return changeVolume(this, ref, change, { clock: this.options.clock, ...options });
  }

  /** A snapshot to be read, whoever writes the volume meanwhile. @throws RawstorError NOT_FOUND, UNAVAILABLE */
  async openSnapshot(ref: string, name: string): Promise<SnapshotReader> {
    const { io, clock, log, host = '', silenceMs = 2000 } = this.options;
    const env = { io, clock, log, connector: this.connector(), host, silenceMs };
    return new SnapshotReader(env, await SnapshotReplicas.find(env, this.mds, ref, name));
  }

  /** @throws RawstorError NOT_FOUND, EXISTS, INVALID, BUSY */
  renameVolume(ref: string, name: string, timeoutMs?: number): Promise<CreatedVolume> {
    return renameVolume(this.mds, this.connector(), ref, name, timeoutMs);
  }

  async close(): Promise<void> {
    this.mds.close();
    this.mgs?.close();
  }

  private connector(): Connector {
    const { io, clock, localOsts } = this.options;
    return new Connector({ io, clock, identity: this.identity }, localOsts);
  }

  /** Asks each address what it is: an MGS names its MDSs, an MDS is one. */
  private static async fromAddresses(
    options: ClusterOptions,
    identity: Cluster['identity'],
    addresses: readonly string[],
    where: string,
  ): Promise<Cluster> {
    const failures: string[] = [];
    for (const address of addresses) {
      try {
        const { io, clock } = options;
        const connection = await Connection.connect(io, address, {
          identity,
          clock,
          handler: ASKS_ONLY,
          timeoutMs: CONNECT_TIMEOUT_MS,
        });
        try {
          const role = connection.remote?.role;
          if (role === 'mds') return new Cluster(options, identity, addresses, []);
          if (role === 'mgs') return new Cluster(options, identity, await mdsOf(connection), addresses);
          failures.push(`${address} is an ${role}, not an MGS or MDS`);
        } finally {
          connection.end();
        }
      } catch (error) {
        const failure = asRawstorError(error, address);
        if (failure.code === 'VERSION' || failure.code === 'DENIED') throw failure;
        failures.push(`${address}: ${failure.message}`);
      }
    }
    throw new RawstorError('UNAVAILABLE', 'the cluster cannot be reached', {
      where: failures.join('; ') || where,
      hint: "start it with 'rawstor up' or 'rawstor serve', or check --location",
    });
  }
}

async function mdsOf(connection: Connection): Promise<string[]> {
  const cluster = await connection.call('mgs.cluster', {});
  const all = cluster.servers.filter((server) => server.role === 'mds');
  const found = all.sort((a, b) => b.lastSeenWallMs - a.lastSeenWallMs).flatMap((server) => server.addresses);
  if (found.length > 0) return found;
  throw new RawstorError('UNAVAILABLE', 'the MGS knows no MDS', {
    where: connection.peer,
    hint: "start one with 'rawstor serve mds'",
  });
}
