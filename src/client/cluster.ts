import { hostname } from 'node:os';
import type { XtsCipher } from '../block/index.js';
import type { Clock } from '../common/clock.js';
import { resolveLocation } from '../common/config.js';
import type { Logger } from '../common/log.js';
import type { Io } from '../io/types.js';
import { Connector } from '../protocol/connector.js';
import type { Params } from '../protocol/messages.js';
import type { CreateSpec, ObjectInfo } from '../protocol/object-info.js';
import type { OstConnector } from '../protocol/ost-peer.js';
import type { VersionChange } from '../protocol/version-messages.js';
import { type ChangeOptions, changeVolume } from './change.js';
import { ControlLink } from './control-link.js';
import { type CreatedVolume, cloneVolume, createVolume } from './create.js';
import { findMds } from './find-mds.js';
import { givingWay } from './giving-way.js';
import { type MovableOptions, MovableVolume } from './hand-over/index.js';
import { KeyRing } from './keys/index.js';
import { openVolume } from './open.js';
import type { OpenVolumeOptions } from './open-options.js';
import type { Patience } from './patience.js';
import { CopyThrottle } from './recovery/throttle.js';
import { type RemoveOptions, removeVolume } from './remove.js';
import { type RenameOptions, renameVolume } from './rename.js';
import { DEFAULT_SEAL_TIMES, type SealTimes } from './seal-due.js';
import { HeadReader, HeadReplicas } from './snapshot/head.js';
import { SnapshotReader } from './snapshot/reader.js';
import { SnapshotReplicas } from './snapshot/replicas.js';
import type { Volume } from './volume.js';

/** How long an open waits for replicas that is only to tell them of a snapshot. */
const TELL_MS = 5000;

export interface ClusterOptions {
  /** As `--location`; undefined looks at the usual places. */
  readonly location?: string | undefined;
  readonly configFile?: string | undefined;
  readonly io: Io;
  readonly clock: Clock;
  readonly log: Logger;
  /** Servers of another one are refused. Where the location is a configuration file that names it, that one. */
  readonly clusterId?: string | undefined;
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
  /** After how long without an answer to an operation one that answers others is given up, 60,000. */
  readonly stuckMs?: number;
  /** How long replicas may be missing before I/O fails, where a volume's policy is to fail; 5000. */
  readonly degradedGraceMs?: number;
  /** Most that resyncs and moves copy, over all volumes; null for no bound. */
  readonly recoveryBytesPerSecond?: number | null;
  readonly seals?: Partial<SealTimes>;
  /** With the MDS, while it is away, and with an MGS that has to name it; none: one try. */
  readonly patience?: Patience | undefined;
  /** What opens encrypted volumes. */
  readonly keys?: KeyRing | undefined;
}

export interface ContentOption {
  /** False: nothing is read or written, so an encrypted volume takes no key. */
  readonly content?: boolean;
}

/** A client's view of a cluster: how to find it, its MDS, and its volumes. */
export class Cluster {
  readonly mds: ControlLink;
  /** Null where the cluster is known without one. */
  readonly mgs: ControlLink | null;
  readonly keys: KeyRing;
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
    this.keys = options.keys ?? new KeyRing([]);
    const env = { io: options.io, clock: options.clock, log: options.log, identity };
    this.mds = new ControlLink(env, 'mds', mdsAddresses, options.patience);
    this.mgs = mgsAddresses.length === 0 ? null : new ControlLink(env, 'mgs', mgsAddresses);
  }

  /** @throws RawstorError CONFIG, NOT_FOUND, UNAVAILABLE, VERSION, DENIED */
  static async connect(options: ClusterOptions): Promise<Cluster> {
    const location = resolveLocation(options.location, process.env, process.cwd(), options.configFile);
    const identity = {
      role: 'client' as const,
      clusterId: options.clusterId ?? '',
      name: `${options.name}@${hostname()}:${process.pid}`,
    };
    let where = 'location';
    let addresses: readonly string[];
    if (location.kind === 'config') {
      const { mds, mgs, clusterId } = location.config;
      identity.clusterId = clusterId ?? identity.clusterId;
      if (mds.length > 0) return new Cluster(options, identity, mds, mgs);
      where = location.path;
      addresses = mgs;
    } else addresses = location.addresses;
    const found = await findMds({ ...options, identity }, addresses, where);
    return new Cluster(options, identity, found.mds, found.mgs);
  }

  /** Opens a volume and gives it as a block device. @throws RawstorError NOT_FOUND, BUSY, UNAVAILABLE, FENCED, DENIED */
  async openVolume(ref: string, options: OpenVolumeOptions & ContentOption): Promise<Volume> {
    const { io, clock, log } = this.options;
    // Before the lease is taken.
    const cipher = options.content === false ? null : await this.cipherOf(ref);
    const env = {
      io,
      cipher,
      clock,
      log,
      connector: this.connector(),
      throttle: this.throttle,
      host: this.options.host ?? '',
      confirmMs: this.options.confirmMs ?? 1000,
      silenceMs: this.options.silenceMs ?? 2000,
      stuckMs: this.options.stuckMs ?? 60_000,
      degradedGraceMs: this.options.degradedGraceMs ?? 5000,
      seals: { ...DEFAULT_SEAL_TIMES, ...this.options.seals },
    };
    return openVolume(env, this.mds, ref, options, options.holder ?? this.identity.name);
  }

  /** Opens a volume that may go to another process, or come from one, with its guest. @throws RawstorError as above */
  async openMovable(ref: string, options: MovableOptions): Promise<MovableVolume> {
    const { io, clock, log, silenceMs = 2000 } = this.options;
    const cipher = await this.cipherOf(ref);
    const openVolume = (id: string, how: OpenVolumeOptions) => this.openVolume(id, how);
    const env = { io, clock, log, silenceMs, mds: this.mds, connector: this.connector(), openVolume, cipher };
    return MovableVolume.open(env, ref, options);
  }

  private async cipherOf(ref: string): Promise<XtsCipher | null> {
    return this.keys.cipherOf(await this.mds.call('mds.getObj', { ref }));
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
    const env = { ...this.readerEnvironment(), cipher: await this.cipherOf(ref) };
    return new SnapshotReader(env, await SnapshotReplicas.find(env, this.mds, ref, name));
  }

  /** A volume to be read as it is, whoever writes it meanwhile: what was written up to a second ago. @throws RawstorError NOT_FOUND, UNAVAILABLE */
  async openHead(ref: string): Promise<HeadReader> {
    const env = { ...this.readerEnvironment(), cipher: await this.cipherOf(ref) };
    return new HeadReader(env, await HeadReplicas.find(env, this.mds, ref));
  }

  /** @throws RawstorError NOT_FOUND, EXISTS, INVALID, BUSY */
  renameVolume(ref: string, name: string, options?: RenameOptions): Promise<CreatedVolume> {
    return renameVolume(this.signs(), this.mds, ref, name, options);
  }

  /** @throws RawstorError NOT_FOUND, BUSY while somebody may write to it and it is not forced, UNAVAILABLE */
  removeVolume(ref: string, options?: RemoveOptions): Promise<void> {
    return removeVolume(this.signs(), this.mds, ref, options);
  }

  async close(): Promise<void> {
    this.mds.close();
    this.mgs?.close();
  }

  private readerEnvironment() {
    const { io, clock, log, host = '', silenceMs = 2000 } = this.options;
    const tellOsts = (id: string) => givingWay(this, id, { timeoutMs: TELL_MS }, async () => {});
    return { io, clock, log, connector: this.connector(), host, silenceMs, tellOsts };
  }

  private signs() {
    return { clock: this.options.clock, connector: this.connector() };
  }

  private connector(): Connector {
    const { io, clock, localOsts } = this.options;
    return new Connector({ io, clock, identity: this.identity }, localOsts);
  }
}
