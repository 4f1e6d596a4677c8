import type { Mark } from '../../block/device.js';
import type { Clock, Timer } from '../../common/clock.js';
import { asRawstorError, RawstorError } from '../../common/errors.js';
import type { Logger } from '../../common/log.js';
import { placeChunkOf } from '../../common/placement.js';
import type { ObjectInfo } from '../../protocol/object-info.js';
import type { OstConnector, OstPeer } from '../../protocol/ost-peer.js';
import type { OstInfo, Snapshot } from '../../protocol/records.js';
import type { ControlLink } from '../control-link.js';
import { checkMark, marksOf } from '../layers.js';
import { lookUp } from '../look-up.js';

export interface SnapshotEnvironment {
  readonly clock: Clock;
  readonly log: Logger;
  readonly connector: OstConnector;
  /** Host label of this machine: replicas here are read first. */
  readonly host: string;
  /** An OST that answers nothing for so long is given up. */
  readonly silenceMs: number;
  /** Has the volume's OSTs store its record, as any open for writing does. @throws RawstorError */
  tellOsts(objectId: string): Promise<void>;
}

/** One OST's session that reads the snapshot. */
export interface ReplicaSession {
  readonly peer: OstPeer;
  readonly handle: number;
  /** Of the writer's session under whose fence it reads; 0 of a snapshot, which needs none. */
  readonly epoch: number;
  inFlight: number;
  /** Its last answer, or when it was asked after it had answered everything. */
  answeredAtMs: number;
}

export const ATTACH_TIMEOUT_MS = 3000;

type Mds = Pick<ControlLink, 'call'>;

/** The replicas of one version of an object, for who only reads it. */
export abstract class ReadReplicas {
  protected object: ObjectInfo;
  protected readonly env: SnapshotEnvironment;
  private readonly mds: Mds;
  protected osts: ReadonlyMap<string, OstInfo>;
  private readonly sessions = new Map<string, ReplicaSession>();
  private readonly opening = new Map<string, Promise<ReplicaSession>>();
  private readonly watchdog: Timer;
  private looking: Promise<void> | null = null;
  private closed = false;
  private turn = 0;
  private told = false;

  constructor(env: SnapshotEnvironment, mds: Mds, object: ObjectInfo, osts: readonly OstInfo[]) {
    this.env = env;
    this.mds = mds;
    this.object = object;
    this.osts = new Map(osts.map((ost) => [ost.ostId, ost]));
    this.watchdog = env.clock.every(Math.max(100, env.silenceMs / 4), () => this.endSilent());
  }

  /** The version that is read. */
  abstract get version(): number;
  abstract get sizeBytes(): number;
  /** For messages. */
  abstract get name(): string;
  /** Takes what the metadata server says now. @throws RawstorError NOT_FOUND when there is nothing to read any more */
  protected abstract take(object: ObjectInfo): void;
  protected abstract begin(peer: OstPeer): Promise<{ handle: number; epoch: number }>;

  get chunkSizeBytes(): number {
    return this.object.chunkSizeBytes;
  }

  /** Of the volume, as known here. */
  get record(): ObjectInfo {
    return this.object;
  }

  /** As far as is known here. */
  marks(): Mark[] {
    return marksOf(this.object, this.version);
  }

  /** @throws RawstorError NOT_FOUND, INVALID */
  checkMark(mark: Mark): void {
    checkMark(this.object, this.version, mark);
  }

  /** Replicas may have been written differently last: all who read have to read the same one. */
  protected get mayDiffer(): boolean {
    return false;
  }

  /** The record is to be looked at again before anything is asked of a replica. */
  get outdated(): boolean {
    return false;
  }

  /** The OST to read a chunk from: in this process, else on this host, else by turns; null when all were tried. */
  choose(chunk: number, tried: readonly string[]): string | null {
    const { members } = this.object;
    const isInSync = (ostId: string) => members.some((one) => one.ostId === ostId && one.state === 'in-sync');
    const fit = placeChunkOf(this.object, chunk).filter((id) => isInSync(id) && !tried.includes(id));
    if (fit.length === 0) return null;
    if (this.mayDiffer) return fit[0]!;
    const { host } = this.env;
    const local = fit.find((id) => this.sessions.get(id)?.peer.local === true);
    const near = fit.find((id) => host !== '' && this.osts.get(id)?.labels.host === host);
    return local ?? near ?? fit[this.turn++ % fit.length]!;
  }

  /** Null when there is none yet. */
  session(ostId: string): ReplicaSession | null {
    return this.sessions.get(ostId) ?? null;
  }

  /** @throws RawstorError NOT_FOUND, UNAVAILABLE, TIMEOUT */
  open(ostId: string): Promise<ReplicaSession> {
    const known = this.sessions.get(ostId);
    if (known !== undefined) return Promise.resolve(known);
    let opening = this.opening.get(ostId);
    if (opening === undefined) {
      opening = this.attach(ostId).finally(() => this.opening.delete(ostId));
      this.opening.set(ostId, opening);
    }
    return opening;
  }

  /** The session is not served any more. */
  drop(ostId: string, session: ReplicaSession): void {
    if (this.sessions.get(ostId) === session) this.sessions.delete(ostId);
    session.peer.destroy();
  }

  /** Asks the MDS who is in sync now, and where. @throws RawstorError NOT_FOUND when the snapshot is gone */
  lookAgain(): Promise<void> {
    this.looking ??= this.look().finally(() => {
      this.looking = null;
    });
    return this.looking;
  }

  /**
   * No OST knows of it: whoever took it was killed before it had told them, and nobody has the volume open who would. Tried once.
   */
  async tellOsts(): Promise<void> {
    if (this.told) return;
    this.told = true;
    try {
      await this.env.tellOsts(this.object.id);
    } catch (error) {
      // BUSY: who has it open tells them.
      this.env.log.debug({ reason: asRawstorError(error).message }, 'OSTs are not told of the snapshot');
    }
  }

  close(): void {
    this.closed = true;
    this.watchdog.cancel();
    for (const [ostId, session] of [...this.sessions]) this.drop(ostId, session);
  }

  protected async look(): Promise<void> {
    const { object, osts } = await lookUp(this.mds, this.object.id);
    this.take(object);
    this.object = object;
    this.osts = new Map(osts.map((ost) => [ost.ostId, ost]));
  }

  private async attach(ostId: string): Promise<ReplicaSession> {
    const { connector, clock, log } = this.env;
    const addresses = this.osts.get(ostId)?.addresses ?? [];
    const peer = await connector.connect(ostId, addresses, ATTACH_TIMEOUT_MS);
    try {
      const { handle, epoch } = await this.begin(peer);
      if (this.closed) throw new RawstorError('UNAVAILABLE', 'it is closed', { where: this.name });
      const session = { peer, handle, epoch, inFlight: 0, answeredAtMs: clock.nowMs() };
      peer.onClosed = () => {
        if (this.sessions.get(ostId) === session) this.sessions.delete(ostId);
      };
      this.sessions.set(ostId, session);
      return session;
    } catch (error) {
      peer.destroy();
      log.debug({ ostId, reason: asRawstorError(error).message }, 'a replica does not let this read');
      throw error;
    }
  }

  private endSilent(): void {
    const oldest = this.env.clock.nowMs() - this.env.silenceMs;
    for (const [ostId, session] of [...this.sessions]) {
      if (session.inFlight > 0 && session.answeredAtMs < oldest) this.drop(ostId, session);
    }
  }
}

/**
 * Those of a frozen version. All that are in sync by the object's record hold the same, whoever writes the volume meanwhile: what is
 * read needs neither lease nor fence.
 */
export class SnapshotReplicas extends ReadReplicas {
  private snapshot: Snapshot;

  private constructor(
    env: SnapshotEnvironment,
    mds: Mds,
    object: ObjectInfo,
    snapshot: Snapshot,
    osts: readonly OstInfo[],
  ) {
    super(env, mds, object, osts);
    this.snapshot = snapshot;
  }

  /** @throws RawstorError NOT_FOUND, UNAVAILABLE */
  static async find(
    env: SnapshotEnvironment,
    mds: Mds,
    ref: string,
    name: string,
  ): Promise<SnapshotReplicas> {
    const { object, osts } = await lookUp(mds, ref);
    const snapshot = object.snapshots.find((one) => one.name === name);
    if (snapshot === undefined) throw noSnapshot(`${object.name}@${name}`);
    return new SnapshotReplicas(env, mds, object, snapshot, osts);
  }

  get version(): number {
    return this.snapshot.version;
  }

  get sizeBytes(): number {
    return this.snapshot.sizeBytes;
  }

  get name(): string {
    return `${this.object.name}@${this.snapshot.name}`;
  }

  protected take(object: ObjectInfo): void {
    const { version } = this;
    const snapshot = object.snapshots.find((one) => one.version === version && one.name !== null);
    if (snapshot === undefined) throw noSnapshot(this.name);
    this.snapshot = snapshot;
  }

  protected async begin(peer: OstPeer): Promise<{ handle: number; epoch: number }> {
    const asked = { objectId: this.object.id, version: this.version };
    const { handle } = await peer.call('ost.attachSnapshot', asked, ATTACH_TIMEOUT_MS);
    return { handle, epoch: 0 };
  }
}

function noSnapshot(name: string): RawstorError {
  return new RawstorError('NOT_FOUND', `there is no snapshot '${name}'`, {
    hint: '`rawstor-volume snapshot ls` lists those there are',
  });
}
