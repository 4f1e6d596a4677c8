import type { XtsCipher } from '../block/index.js';
import type { Clock } from '../common/clock.js';
import { RawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import type { Logger } from '../common/log.js';
import { placeChunk, placeChunkOf } from '../common/placement.js';
import type { Io } from '../io/types.js';
import type { ObjectInfo } from '../protocol/object-info.js';
import type { OstConnector } from '../protocol/ost-peer.js';
import type { FileFacts, WantedMove } from '../protocol/records.js';
import type { Member } from './member.js';
import { RangeLocks } from './range-locks.js';
import type { CopyThrottle } from './recovery/throttle.js';
import { RegionSet } from './region-set.js';
import type { SealTimes } from './seal-due.js';
import { isTakenOver } from './taken-over.js';
import { Unsealed } from './unsealed.js';

/** What a volume is made with. */
export interface VolumeEnvironment {
  readonly io: Io;
  readonly clock: Clock;
  readonly log: Logger;
  readonly connector: OstConnector;
  /** Host label of this machine, '' for none: replicas here are read first. */
  readonly host: string;
  /** Bounds what resyncs copy; null for no bound. */
  readonly throttle?: CopyThrottle | null;
  /** I14's T. */
  readonly confirmMs: number;
  /** A member that answers nothing for this long is given up. */
  readonly silenceMs: number;
  /** A member that answers, but one operation not for this long, is given up too: its disk does not come back to it. */
  readonly stuckMs: number;
  /** With policy `error`: I/O waits this long for missing replicas; an OST started again is back by then. */
  readonly degradedGraceMs: number;
  readonly seals: SealTimes;
  /** Of an encrypted volume, where somebody needs its content. */
  readonly cipher?: XtsCipher | null;
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
  /** All OSTs of the object's pool, and the one that is to come into it. Replaced as a whole by `setMembers`. */
  members: readonly Member[];
  /** The map is to change: `target` gets copies and every new write of its chunks, and the map is taken when it joins. */
  move: { readonly wanted: WantedMove; readonly target: Member } | null = null;
  /** OSTs that have no place any more and are to be told so, as soon as everybody in sync knows the map. */
  left: readonly string[] = [];
  /** Epoch of the last change of the map, the versions or the size: members that keep an older record are to be told (I13). */
  recordEpoch = 0;
  /** The map is another than this session was opened with. */
  tookMap = false;
  readonly locks = new RangeLocks();
  readonly regionSizeBytes: number;
  readonly regionsPerChunk: number;
  /** Regions that replicas may hold differently: nothing is done to one before it is reconciled (I7). */
  readonly unreconciled: RegionSet;
  /** A change of the set is recorded but not yet stored on every survivor: nothing is acknowledged (I6). */
  acksHeld = false;
  /** The version that is written although the head on record lies over it: until the cut of a snapshot (I11). */
  uncut: number | null = null;
  /** What a clone shows of its parent is being copied into its head: no other head meanwhile. */
  flattening = false;
  closing = false;
  /** What the volume is as a file by now, where somebody writes it as one: more than is on record while it grows. */
  fileNow: (() => FileFacts | null) | null = null;
  /** Opened for the volume's own good: whoever opens it gets it. */
  givesWay = false;
  /** Why nothing works any more: fenced, or closed. */
  fatal: RawstorError | null = null;
  /** A recorded loss that the next flush has to report (I8), and the epoch up to which it stands for all. */
  lossToReport: { readonly error: RawstorError; readonly epoch: number } | null = null;
  /** How often members stayed in the set without what they had not flushed (I8), of data or of what was copied. */
  lossesAccepted = 0;
  /** Losses recorded up to this epoch the guest has been told of. */
  toldLossEpoch = 0;
  /** Written since the last seal. */
  readonly unsealed: Unsealed;
  lastWriteAtMs = 0;
  lastSealAtMs: number;
  private byId = new Map<string, Member>();
  private placements: (readonly Member[])[] = [];
  private fixedPlacement: readonly Member[] | null = null;
  private nextSessionNumber = 1;

  constructor(env: VolumeEnvironment, object: ObjectInfo, sessionEpoch: number, members: readonly Member[]) {
    this.env = env;
    this.object = object;
    this.sessionEpoch = sessionEpoch;
    this.tag = object.epoch;
    this.members = members;
    this.regionSizeBytes = Math.min(LIMITS.regionSizeBytes, object.chunkSizeBytes);
    this.regionsPerChunk = object.chunkSizeBytes / this.regionSizeBytes;
    this.unreconciled = new RegionSet(this.regionsPerChunk);
    this.unsealed = new Unsealed(this.regionSizeBytes, this.regionsPerChunk, env.seals.bytes);
    this.lastSealAtMs = env.clock.nowMs();
    this.setMembers(members);
  }

  /** That a write which begins now goes to. */
  get writeVersion(): number {
    return this.uncut ?? this.object.headVersion;
  }

  get epoch(): number {
    return this.object.epoch;
  }

  get name(): string {
    return this.object.name;
  }

  /** Some OST in sync does not keep the present record. */
  get recordToStore(): boolean {
    return this.members.some((member) => member.inSync && member.keptEpoch < this.recordEpoch);
  }

  /** What the MDS has recorded now. */
  recorded(object: ObjectInfo): void {
    this.object = object;
    this.tag = Math.max(this.tag, object.epoch);
  }

  member(ostId: string): Member | undefined {
    return this.byId.get(ostId);
  }

  /** Who is a member from here on, and `move` or the map with it. What is under way keeps the placement it began with. */
  setMembers(members: readonly Member[]): void {
    this.members = members;
    this.byId = new Map(members.map((member) => [member.ostId, member]));
    this.placements = [];
    const { rule, exceptions } = this.object.map;
    this.fixedPlacement = rule === 'fixed' && exceptions.length === 0 ? this.place(0) : null;
  }

  /** Members that hold a chunk, first replica first, and the one that is to. */
  placement(chunk: number): readonly Member[] {
    if (this.fixedPlacement !== null) return this.fixedPlacement;
    return (this.placements[chunk] ??= this.place(chunk));
  }

  /** Acknowledged writes are gone and that is on record (I8): the next flush says so. */
  noteLoss(): void {
    const error = new RawstorError('LOSS', 'writes acknowledged but not flushed were lost', {
      where: `volume ${this.name}`,
      hint: 'check the file system inside; the volume keeps the mark of it',
    });
    this.lossToReport = { error, epoch: this.epoch };
  }

  /** Nothing works any more. To give way is no trouble for who is there to do so. */
  failed(error: RawstorError): void {
    this.fatal = error;
    const facts = { volume: this.name, code: error.code };
    const gaveWay = this.givesWay && isTakenOver(error);
    if (gaveWay) this.env.log.info(facts, 'another session has the volume now');
    else this.env.log.error(facts, error.message);
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
    const { id, placeAs, replicas } = this.object;
    const ids = placeChunkOf(this.object, chunk);
    const next = this.move === null ? [] : placeChunk(this.move.wanted.map, placeAs ?? id, replicas, chunk);
    return [...new Set([...ids, ...next])].map((ostId) => this.byId.get(ostId)!);
  }
}
