import type { Clock } from '../common/clock.js';
import { RawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import type { Logger } from '../common/log.js';
import { placeChunk } from '../common/placement.js';
import type { Io } from '../io/types.js';
import type { ObjectInfo } from '../protocol/messages.js';
import type { OstConnector } from '../protocol/ost-peer.js';
import type { Member } from './member.js';
import { RangeLocks } from './range-locks.js';
import { RegionSet } from './region-set.js';
import type { SealTimes } from './seal-due.js';
import { Unsealed } from './unsealed.js';

/** What a volume is made with. */
export interface VolumeEnvironment {
  readonly io: Io;
  readonly clock: Clock;
  readonly log: Logger;
  readonly connector: OstConnector;
  /** Host label of this machine, '' for none: replicas here are read first. */
  readonly host: string;
  /** I14's T. */
  readonly confirmMs: number;
  /** A member that answers nothing for this long is given up. */
  readonly silenceMs: number;
  /** With policy `error`: I/O waits this long for missing replicas; an OST started again is back by then. */
  readonly degradedGraceMs: number;
  readonly seals: SealTimes;
}

/**
 * The state that the parts of one open volume share: the object, its members, the locks. Each part (I/O path,
 * flusher, membership, recovery) changes only its own fields.
 */
export class VolumeState {
  readonly env: VolumeEnvironment;
  /** As last recorded at the MDS; `epoch` and `members` follow every change. */
  object: ObjectInfo;
  readonly sessionEpoch: number;
  /** What writes are tagged with: the epoch held, or the next one from the beginning of a seal of that on. */
  tag: number;
  /** All OSTs of the object's pool, in its order. */
  readonly members: readonly Member[];
  readonly locks = new RangeLocks();
  readonly regionSizeBytes: number;
  readonly regionsPerChunk: number;
  /** Regions that replicas may hold differently: nothing is done to one before it is reconciled (I7). */
  readonly unreconciled: RegionSet;
  /** A change of the set is recorded but not yet stored on every survivor: nothing is acknowledged (I6). */
  acksHeld = false;
  closing = false;
  /** Why nothing works any more: fenced, or closed. */
  fatal: RawstorError | null = null;
  /** A recorded loss that the next flush has to report (I8). */
  lossToReport: RawstorError | null = null;
  /** Written since the last seal. */
  readonly unsealed: Unsealed;
  lastWriteAtMs = 0;
  lastSealAtMs: number;
  private readonly byId = new Map<string, Member>();
  private readonly placements: (readonly Member[])[] = [];
  private readonly fixedPlacement: readonly Member[] | null;
  private nextSessionNumber = 1;

  constructor(env: VolumeEnvironment, object: ObjectInfo, sessionEpoch: number, members: readonly Member[]) {
    this.env = env;
    this.object = object;
    this.sessionEpoch = sessionEpoch;
    this.tag = object.epoch;
    this.members = members;
    for (const member of members) this.byId.set(member.ostId, member);
    this.regionSizeBytes = Math.min(LIMITS.regionSizeBytes, object.chunkSizeBytes);
    this.regionsPerChunk = object.chunkSizeBytes / this.regionSizeBytes;
    this.unreconciled = new RegionSet(this.regionsPerChunk);
    this.unsealed = new Unsealed(this.regionSizeBytes, this.regionsPerChunk, env.seals.bytes);
    this.lastSealAtMs = env.clock.nowMs();
    const plain = object.map.rule === 'fixed' && object.map.exceptions.length === 0;
    this.fixedPlacement = plain ? this.place(0) : null;
  }

  get epoch(): number {
    return this.object.epoch;
  }

  get name(): string {
    return this.object.name;
  }

  /** What the MDS has recorded now. */
  recorded(object: ObjectInfo): void {
    this.object = object;
    this.tag = Math.max(this.tag, object.epoch);
  }

  member(ostId: string): Member | undefined {
    return this.byId.get(ostId);
  }

  /** Members that hold a chunk, first replica first. */
  placement(chunk: number): readonly Member[] {
    if (this.fixedPlacement !== null) return this.fixedPlacement;
    return (this.placements[chunk] ??= this.place(chunk));
  }

  /** Acknowledged writes are gone and that is on record (I8): the next flush says so. */
  noteLoss(): void {
    this.lossToReport = new RawstorError('LOSS', 'writes acknowledged but not flushed were lost', {
      where: `volume ${this.name}`,
      hint: 'check the file system inside; the volume keeps the mark of it',
    });
  }

  /** Rising: each attach of this session has its own (I4). */
  sessionNumber(): number {
    return this.nextSessionNumber++;
  }

  /** Replicas may differ in the range: nothing is answered from one of them (I7). */
  differs({ chunk, offset, length }: { chunk: number; offset: number; length: number }): boolean {
    if (this.unreconciled.size === 0) return false;
    const start = chunk * this.object.chunkSizeBytes + offset;
    return this.unreconciled.overlaps(start, start + length, this.regionSizeBytes);
  }

  inSyncMembers(): Member[] {
    return this.members.filter((member) => member.inSync);
  }

  private place(chunk: number): readonly Member[] {
    const ids = placeChunk(this.object.map, this.object.id, this.object.replicas, chunk);
    return ids.map((id) => this.byId.get(id)!);
  }
}
